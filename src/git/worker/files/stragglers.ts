/**
 * Owns finding the processes that still use a directory, by what the kernel tells in `/proc`, and ending them.
 *
 * Invariants:
 * 1. Counted: whoever has a directory, a file, a program or a mapping inside, in any thread, under any name and in any
 *    mount namespace, deleted or not; whoever lives in a mount namespace where it is mounted on its own; and whoever may
 *    not be looked at, runs as the holder's user and did not begin before the lease (`unreadable`).
 * 2. A process of another user that may not be looked at does not count: every system has such, so that no directory
 *    would ever be free, and it can be none of the holder's unless the holder can become another user.
 * 3. The server, its workers, and whoever started the server never count: they use no workspace, but to work on it. The
 *    embedded Postgres is judged as any other process: it has nothing open there, and is never of a second holders' user.
 * 4. Whoever is ended is the one that was found: its id and the time of its begin are compared right before.
 *    Who is merely `unreadable` is not ended: it may be of another lease.
 * 5. Where there is no `/proc`, nothing is found.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Straggler, StragglerUse } from "../../../domain/straggler.js";
import type { FindStragglersJob } from "../../protocol.js";
import { holderUid } from "./holder.js";
import { Sight, type View } from "./mounts.js";
import {
  ancestorsOf,
  beginOf,
  commandOf,
  furtherThreads,
  ProcessReader,
  placeOf,
  processIds,
  timeOfBegin,
  uidsOf,
} from "./process-table.js";

/** How long ending them may take in all; what is in the kernel then, on a dead disk say, stays. */
const endLimitMs = 10_000;
const pollMs = 5;
/** `/proc` tells when a process began to the second, and clocks are put right while it runs. */
const clockMarginMs = 2_000;

interface Found extends Omit<Straggler, "killed"> {
  readonly begin: number;
}

export async function findStragglers(job: FindStragglersJob): Promise<readonly Straggler[]> {
  const found = look(job);
  const gone = job.kill && found.length > 0 ? await end(job, found) : new Set<string>();
  return found.map(({ begin, ...one }) => ({ ...one, killed: gone.has(identity({ pid: one.pid, begin })) }));
}

function look(job: FindStragglersJob): Found[] {
  const ours = new Set([process.pid, ...job.own, ...ancestorsOf(process.pid)]);
  const sight = new Sight(job.places);
  const ownNamespace = new ProcessReader().link("/proc/self/ns/mnt");
  const found: Found[] = [];
  for (const pid of processIds()) {
    if (ours.has(pid)) continue;
    const use = useOf(pid, job, sight, ownNamespace);
    if (!use) continue;
    const begin = beginOf(pid);
    if (begin === undefined) continue;
    found.push({ pid, command: commandOf(pid), uid: uidsOf(pid)[0] ?? -1, use, begin });
  }
  // an operator's: there is no process to name, but whatever is reached through it can be written to
  for (const point of sight.ownBinds) found.push({ pid: 0, command: point, uid: 0, use: "mount", begin: 0 });
  return found;
}

function useOf(pid: number, job: FindStragglersJob, sight: Sight, ownNamespace: string): StragglerUse | undefined {
  const place = placeOf(pid);
  const reader = new ProcessReader();
  const namespace = reader.link(`${place}/ns/mnt`);
  const root = reader.link(`${place}/root`);
  const isForeign = namespace !== ownNamespace && namespace !== "";
  const view = isForeign ? sight.of(place, namespace, root) : sight.ownView;
  const use =
    useOfThread(place, root, reader, view, isForeign) ??
    first(threadsApart(pid, root === "", job), (thread) => useOfThread(thread, undefined, reader, view, isForeign)) ??
    (isMapped(place, reader, view) ? "mapping" : undefined);
  if (use) return use;
  if (isForeign && view.hasBind) return "mount";
  return reader.wasRefused && mayBeHolders(pid, job) ? "unreadable" : undefined;
}

/**
 * Threads that may have files or a directory of their own. Hardly any program has such, and looking at all threads of all
 * costs ten times as much: so those of a process that has lost its first one, and of what may be the holder's.
 */
function threadsApart(pid: number, hasEnded: boolean, job: FindStragglersJob): readonly string[] {
  const threads = furtherThreads(pid);
  return threads.length > 0 && (hasEnded || mayBeHolders(pid, job)) ? threads : [];
}

/** `root`: where its root link points, if that is known. */
function useOfThread(
  place: string,
  root: string | undefined,
  reader: ProcessReader,
  view: View,
  isForeign: boolean,
): StragglerUse | undefined {
  const isInside = (link: string, path: string) =>
    path.startsWith("/") && (view.shows(undeleted(path)) || (isForeign && view.isPlace(link, path)));
  const cwd = reader.link(`${place}/cwd`);
  if (isInside(`${place}/cwd`, cwd)) return "directory";
  const itsRoot = root ?? reader.link(`${place}/root`);
  if (itsRoot !== "/" && isInside(`${place}/root`, itsRoot)) return "root";
  const isShown = (path: string) => path.startsWith("/") && view.shows(undeleted(path));
  if (isShown(reader.link(`${place}/exe`))) return "program";
  for (const descriptor of reader.names(`${place}/fd`)) {
    if (isShown(reader.link(`${place}/fd/${descriptor}`))) return "file";
  }
  return undefined;
}

function isMapped(place: string, reader: ProcessReader, view: View): boolean {
  const text = reader.text(`${place}/maps`);
  if (!view.mayShow(text)) return false;
  let last = "";
  for (const line of text.split("\n")) {
    // address, permissions, offset, device, inode, and the name from column 74 on
    const slash = line.indexOf("/", 25);
    if (slash < 0) continue;
    const path = line.slice(slash);
    if (path !== last && view.shows(undeleted(path))) return true;
    last = path;
  }
  return false;
}

/** Invariants 1 and 2 for one that may not be looked at. */
function mayBeHolders(pid: number, { sinceMs }: FindStragglersJob): boolean {
  if (!uidsOf(pid).includes(holderUid())) return false;
  const begin = beginOf(pid);
  if (begin === undefined) return false;
  return sinceMs === undefined || timeOfBegin(begin) >= sinceMs - clockMarginMs;
}

/**
 * Ends them, and what they start meanwhile, until none is seen any more; whoever came to light by that is added to `found`.
 * Answers who was ended.
 */
async function end(job: FindStragglersJob, found: Found[]): Promise<ReadonlySet<string>> {
  const limit = performance.now() + endLimitMs;
  const signalled = new Map<string, Found>();
  const refused = new Set<string>();
  for (let seen: readonly Found[] = found; ; seen = look(job)) {
    const pending = seen.filter((one) => isEndable(one) && !refused.has(identity(one)));
    if (pending.length === 0 || performance.now() > limit) break;
    for (const straggler of pending) {
      const name = identity(straggler);
      if (!found.some((one) => identity(one) === name)) found.push(straggler);
      // invariant 4
      if (signalled.has(name) || beginOf(straggler.pid) !== straggler.begin) continue;
      if (kill(straggler.pid)) signalled.set(name, straggler);
      else refused.add(name);
    }
    await sleep(pollMs);
  }
  const gone = [...signalled].filter(([, { pid, begin }]) => beginOf(pid) !== begin);
  return new Set(gone.map(([name]) => name));
}

function isEndable({ pid, use }: Found): boolean {
  return use !== "unreadable" && pid > 1;
}

/** False where it is another user's. */
function kill(pid: number): boolean {
  try {
    process.kill(pid, "SIGKILL");
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}

function identity({ pid, begin }: Pick<Found, "pid" | "begin">): string {
  return `${pid}@${begin}`;
}

function undeleted(path: string): string {
  return path.endsWith(" (deleted)") ? path.slice(0, -" (deleted)".length) : path;
}

function first<T, R>(items: readonly T[], find: (item: T) => R | undefined): R | undefined {
  for (const item of items) {
    const found = find(item);
    if (found !== undefined) return found;
  }
  return undefined;
}
