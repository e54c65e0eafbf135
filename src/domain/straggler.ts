/**
 * Owns what is told of a process that still uses a workspace after its lease has ended.
 */

/** How it uses it; `unreadable`: it may, and may not be asked. */
export type StragglerUse = "directory" | "root" | "program" | "file" | "mapping" | "mount" | "unreadable";

export interface Straggler {
  readonly pid: number;
  /** Its name, as the kernel tells it; without control characters. */
  readonly command: string;
  readonly uid: number;
  readonly use: StragglerUse;
  readonly killed: boolean;
}

const mostNamed = 10;

/** For people: `make (4711, directory, killed), …`. */
export function describeStragglers(stragglers: readonly Straggler[]): string {
  const named = stragglers
    .slice(0, mostNamed)
    .map(({ pid, command, use, killed }) => `${command} (${pid}, ${use}${killed ? ", killed" : ""})`);
  if (stragglers.length > mostNamed) named.push(`${stragglers.length - mostNamed} more`);
  return named.join(", ");
}
