-- Owns what an operator does after this database was restored from a backup: what was given out since then is not in it.
-- 1. No token of before is valid: the key is another one. A watcher of before is told so: so is the store's id.
-- 2. No workspace of before has a row, and no id of one is given again: so no lease gets the path, or the (workspace, fence),
--    that a lease after the backup had, and every directory is found without a row, salvaged and removed by its host's owner.
-- 3. The stream of events begins anew: what it told of workspaces is of no use to those that are found.
-- Servers read the key at their start: those that run must be started again. Answers how many leases were ended.
create function renew_store() returns int language plpgsql as $$
declare
  v record;
  n int := 0;
begin
  update meta set store_id = default, token_key = default;
  for v in select l.workspace_id, l.fence from leases l where l.end_time is null order by l.workspace_id loop
    if (select outcome from end_lease(v.workspace_id, v.fence, 'RESET', false, false)) = 'ended' then n := n + 1; end if;
  end loop;
  -- a request id of before gets a new lease
  delete from tickets;
  delete from workspaces;
  -- more than were ever made between a backup and its restore
  perform setval(pg_get_serial_sequence('workspaces', 'id'),
                 coalesce(pg_sequence_last_value(pg_get_serial_sequence('workspaces', 'id')), 0) + 1000000000);
  delete from outbox;
  delete from events;
  update meta set oldest_revision = newest_revision + 1;
  return n;
end $$;
