/**
 * Names every space of advisory locks, as (class, object); an operator sees them in `pg_locks` as (classid, objid).
 * The functions in migrations/0002_locks.sql and 0013_bindings.sql use the same numbers, and a test compares the two.
 *
 * Only `owner` is a lock of a session; all others are of a transaction and vanish with it.
 */
export const lockClass = {
  /** Things that happen once at a time; the object is one of `singleton`. */
  singleton: 70,
  /** One server process owns a host's directories; the object is `hosts.id`. */
  owner: 71,
  /** Whoever mints, ends or takes over a workspace's token; the object is `workspaces.id` modulo 2^31. */
  workspace: 72,
  /** The queue of a repository on a host; the object is a hash. */
  queue: 73,
  /** A caller's request id; the object is a hash. */
  request: 74,
  /** A caller's binding within a repository; the object is a hash. */
  binding: 75,
} as const;

export const singleton = { migrations: 0, publishing: 1, housekeeping: 2, registration: 3, sweeping: 4 } as const;
