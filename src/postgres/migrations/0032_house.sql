-- Owns what is cleared away behind: repositories that were removed, with their sessions, and rows that nobody needs any more.
-- 1. A repository's name is free again only when its mirror on the host that finishes the removal is out of the way.
-- 2. A session's repository is there as long as the session is open; closed ones outlive it.
-- 3. Clearing away reads what is to go, not whole tables: the bounds are values, since a volatile clock is no index condition.

-- what was open when its repository went, and would be reopened by another one of its name
select close_session(s.id, 'RESET') from sessions s
 where s.state <> 'CLOSED'
   and not exists (select from repositories r where r.name = s.repository and r.create_time <= s.create_time);

-- names of those that nothing on any host needs any more
create function removable_repositories() returns setof text language sql stable as $$
  select x.name from repositories x
   where x.removing and not exists (select from workspaces w where w.repository_id = x.id and w.state <> 'RETIRED') order by x.id
$$;

drop function finish_removals();
-- p_names: of those whose mirror is out of the way. Answers those of them that are gone now.
create function finish_removals(p_names text[]) returns setof text language plpgsql as $$
declare
  r repositories;
  v_id bigint;
begin
  -- those that were being made or cleaned when the removal began
  for v_id in select w.id from workspaces w join repositories x on x.id = w.repository_id
               where x.removing and w.state in ('IDLE', 'PARKED') order by w.id
  loop
    perform reclaim_workspace(v_id);
  end loop;
  for r in select * from repositories x where x.removing and x.name = any (p_names)
              and not exists (select from workspaces w where w.repository_id = x.id and w.state <> 'RETIRED')
            order by x.id for update skip locked
  loop
    perform close_session(s.id, 'RESET') from sessions s where s.repository = r.name and s.state <> 'CLOSED';
    delete from workspaces w where w.repository_id = r.id;
    delete from repositories x where x.id = r.id;
    perform emit_repository('REPOSITORY_REMOVED', r.name, '', '');
    return next r.name;
  end loop;
end $$;

create index ended_leases_by_time on leases (end_time) where end_time is not null;
-- what is measured on a host, and what has gone there
create index kept_on_host on workspaces (host_id) where state in ('IDLE', 'LEASED', 'PARKED', 'QUARANTINED');
create index retired_by_time on workspaces (create_time) where state = 'RETIRED';
create index tickets_not_leased on tickets (server_id) where state in ('OPEN', 'WAITING', 'FAILED');
create index passing_tickets on tickets (id) where state = 'LEASED' and not kept;
create index kept_tickets_by_time on tickets (create_time) where state = 'LEASED' and kept;
create index leased_tickets on tickets (workspace_id, fence) where state = 'LEASED';

-- a ticket that says LEASED has its lease
create function forget_tickets() returns trigger language plpgsql as $$
begin
  delete from tickets t using gone l where t.state = 'LEASED' and t.workspace_id = l.workspace_id and t.fence = l.fence;
  return null;
end $$;
create trigger forget_tickets after delete on leases referencing old table as gone
  for each statement execute function forget_tickets();
delete from tickets t where t.state = 'LEASED'
   and not exists (select from leases l where l.workspace_id = t.workspace_id and l.fence = t.fence);

-- tickets that nobody attends, request ids that may be forgotten, rows of the dead; a lease whose work is still to be salvaged is
-- remembered: the salvage is named after it
create or replace function keep_house(p_retention interval) returns void language plpgsql as $$
declare
  v_now timestamptz := clock_timestamp();
  v_old timestamptz := v_now - greatest(p_retention, interval '25 hours');
begin
  if not pg_try_advisory_xact_lock(70, 2) then return; end if;
  delete from tickets t where t.state in ('OPEN', 'WAITING', 'FAILED') and not is_alive(t.server_id)
     and (not t.kept or coalesce(t.leave_time, (select s.seen_time from servers s where s.id = t.server_id), t.create_time)
                        < v_now - interval '30 seconds');
  delete from tickets t using leases l where t.state = 'LEASED' and not t.kept
     and l.workspace_id = t.workspace_id and l.fence = t.fence and l.end_time < v_now - interval '1 minute';
  -- a lease that ended so long ago was asked for before that
  delete from tickets t using leases l where t.state = 'LEASED' and t.kept and t.create_time < v_now - interval '24 hours'
     and l.workspace_id = t.workspace_id and l.fence = t.fence and l.end_time < v_now - interval '24 hours';
  delete from leases l where l.end_time < v_old
     and not exists (select from workspaces w where w.id = l.workspace_id and w.guard_work and w.state <> 'RETIRED');
  delete from workspaces w where w.state = 'RETIRED' and not exists (select from leases l where l.workspace_id = w.id)
     and w.create_time < v_old;
  delete from servers s where s.seen_time < v_now - interval '1 day'
     and not exists (select from hosts h where h.server_id = s.id);
end $$;
