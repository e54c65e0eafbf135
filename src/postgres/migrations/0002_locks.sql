-- Owns the spaces of advisory locks, (class, object), as an operator sees them in pg_locks.
-- src/postgres/locks.ts names the same; a test compares the two.
--   70  singletons: 0 migrations, 1 publishing, 2 housekeeping, 3 registration
--   71  owner of a host's directories, object = hosts.id; the only lock of a session
--   72  token of a workspace, object = workspaces.id (modulo 2^31: a collision only makes two wait)
--   73  queue of a repository on a host, object = a hash
--   74  request id of a caller, object = a hash

create function lock_workspace(p_workspace bigint) returns void language sql as $$
  select pg_advisory_xact_lock(72, (p_workspace % 2147483648)::int)
$$;

-- for Acquire, which passes over what another transaction is granting
create function try_lock_workspace(p_workspace bigint) returns bool language sql as $$
  select pg_try_advisory_xact_lock(72, (p_workspace % 2147483648)::int)
$$;

create function lock_queue(p_repository int, p_host int) returns void language sql as $$
  select pg_advisory_xact_lock(73, hashtext(p_repository || '/' || p_host))
$$;

create function lock_request(p_caller text, p_request_id text) returns void language sql as $$
  select pg_advisory_xact_lock(74, hashtext(p_caller || E'\n' || p_request_id))
$$;
