/**
 * Owns what stands in the way of cleaning and will stand there next time as well: mounts, and files that refuse to be
 * removed (immutable, of another user).
 *
 * Invariant: it is told in words, with the place inside the workspace and without its path on this host.
 */
import { toBytePath, toShown } from "./byte-path.js";
import { mountsBelow } from "./mounts-inside.js";

/** Refusals that no second attempt overcomes. */
const refusals = new Map([
  ["EPERM", "the system does not permit it (immutable, or of another user)"],
  ["EACCES", "permission is denied (it belongs to another user)"],
  ["EBUSY", "it is in use by the system"],
]);

/** Undefined if nothing is mounted inside. */
export function describeMounts(path: string): string | undefined {
  const [first, ...more] = mountsBelow(path);
  if (first === undefined) return undefined;
  const others = more.length > 0 ? ` and at ${more.length} more` : "";
  return `another file system is mounted at ${toShown(first)}${others}`;
}

/** Undefined if another attempt, or a fresh clone, may help. `root`: the workspace. */
export function describeRefusal(error: unknown, root: string): string | undefined {
  const { code, path } = error as { readonly code?: unknown; readonly path?: unknown };
  const reason = typeof code === "string" ? refusals.get(code) : undefined;
  if (reason === undefined) return undefined;
  const bytes = Buffer.isBuffer(path) ? path.toString("latin1") : toBytePath(typeof path === "string" ? path : "");
  const base = `${toBytePath(root)}/`;
  const place = bytes.startsWith(base) ? toShown(bytes.slice(base.length)) : "the directory";
  return `${place} cannot be changed or removed: ${reason}`;
}
