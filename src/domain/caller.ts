/** Owns who calls and what each role may do. */

export type Role = "admin" | "runner";

/** The authenticated caller; without authentication all calls come from one admin with the empty name. */
export interface Caller {
  readonly name: string;
  readonly role: Role;
}

/** The caller whose leases this one is limited to, or undefined if it sees everybody's. */
export function limitedTo(caller: Caller): string | undefined {
  return caller.role === "admin" ? undefined : caller.name;
}
