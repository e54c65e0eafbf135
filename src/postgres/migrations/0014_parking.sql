-- Owns how parked workspaces come about and go: the ends of leases, Reset, and removals, as 0013 makes them.

drop function end_lease(bigint, bigint, text, bool);
-- outcome: ended, already, unknown, or live (EXPIRED only: a heartbeat came first). p_park: a bound workspace keeps its files.
create function end_lease(p_workspace bigint, p_fence bigint, p_reason text, p_removing bool, p_park bool, out outcome text, out reason text)
language plpgsql as $$
declare
  w workspaces;
  l leases;
  v_park bool;
begin
  perform lock_workspace(p_workspace);
  select * into w from workspaces x where x.id = p_workspace for update;
  select * into l from leases x where x.workspace_id = p_workspace and x.fence = p_fence for update;
  if l.workspace_id is null then outcome := 'unknown'; return; end if;
  if l.end_time is not null then outcome := 'already'; reason := l.end_reason; return; end if;
  if p_reason = 'EXPIRED' and l.expire_time >= clock_timestamp() then outcome := 'live'; return; end if;
  update leases x set end_time = clock_timestamp(), end_reason = p_reason
   where x.workspace_id = p_workspace and x.fence = p_fence and x.end_time is null returning * into l;
  v_park := p_park and w.binding <> '' and not (select r.removing from repositories r where r.id = w.repository_id);
  update workspaces x set state = case when v_park then 'PARKED' else 'CLEANING' end, fence = x.fence + 1, worker = null, claim_time = null, attempts = 0, retry_time = null,
         removing = p_removing
   where x.id = p_workspace and x.fence = p_fence returning * into w;
  perform emit_lease('LEASE_ENDED', w, 'LEASED', l);
  -- of 0017: sessions end with their lease, in this statement
  perform suspend_sessions(p_workspace, p_fence);
  if v_park then perform emit_lease('WORKSPACE_PARKED', w, w.state, l); end if;
  outcome := 'ended'; reason := p_reason;
end $$;

-- a bound workspace goes back to its binding
create or replace function end_undelivered(p_ticket bigint) returns bool language plpgsql as $$
declare
  t tickets;
begin
  select * into t from tickets x where x.id = p_ticket;
  if t.workspace_id is null then return false; end if;
  perform lock_workspace(t.workspace_id);
  select * into t from tickets x where x.id = p_ticket for update;
  if t.state is distinct from 'LEASED' or t.delivered or t.server_id is not null then return false; end if;
  return (select outcome from end_lease(t.workspace_id, t.fence, 'RELEASED', false, true)) = 'ended';
end $$;

create or replace function expire_leases(p_server bigint, p_host int, p_limit int) returns int language plpgsql as $$
declare
  v record;
  n int := 0;
begin
  for v in select l.workspace_id, l.fence from leases l
             join workspaces w on w.id = l.workspace_id
             join hosts h on h.id = w.host_id
            where h.id = p_host and h.server_id = p_server and l.end_time is null and l.expire_time < clock_timestamp()
              and h.seen_time > clock_timestamp() - interval '3 seconds' and h.well_time + l.ttl < clock_timestamp()
            order by l.workspace_id limit p_limit
  loop
    if (select outcome from end_lease(v.workspace_id, v.fence, 'EXPIRED', false, true)) = 'ended' then n := n + 1; end if;
  end loop;
  return n;
end $$;

create or replace function reset_workspace(p_workspace bigint, p_expected_fence bigint, p_force bool, p_abandon bool) returns text
language plpgsql as $$
declare
  w workspaces;
  v_previous text;
begin
  perform lock_workspace(p_workspace);
  select * into w from workspaces x where x.id = p_workspace for update;
  if w.id is null or w.state = 'RETIRED' then return 'unknown'; end if;
  if p_expected_fence is not null and w.fence <> p_expected_fence then return 'mismatch'; end if;
  v_previous := w.state;
  if v_previous = 'LEASED' then
    if not p_force then return 'live'; end if;
    perform end_lease(w.id, w.fence, 'RESET', false, false);
    select * into w from workspaces x where x.id = p_workspace;
  elsif v_previous in ('IDLE', 'PARKED', 'QUARANTINED') then
    -- without its commit nothing of the trusted index is believed: everything is read again; but salvaging needs it
    update workspaces x set state = 'CLEANING', fence = x.fence + 1, removing = false, idle_time = null, problem = '',
           commit_id = case when x.guard_work and not p_abandon then x.commit_id else '' end, attempts = 0, retry_time = null
     where x.id = w.id and x.fence = w.fence returning * into w;
    perform emit_workspace('WORKSPACE_CLAIMED', w, v_previous, 'reset');
  end if;
  if p_abandon then
    update workspaces x set guard_work = false where x.id = w.id;
    perform emit_workspace('WORK_ABANDONED', w, w.state, '');
  end if;
  return case when v_previous = 'LEASED' then 'ended' else 'reset' end;
end $$;

create or replace function remove_repository(p_name text, p_force bool, out outcome text, out leases int, out quarantined int)
language plpgsql as $$
declare
  r repositories;
  v record;
begin
  select * into r from repositories x where x.name = p_name for update;
  if not found then outcome := 'unknown'; return; end if;
  select count(*) filter (where w.state = 'LEASED'), count(*) filter (where w.state = 'QUARANTINED') into leases, quarantined
    from workspaces w where w.repository_id = r.id;
  if leases + quarantined > 0 and not p_force then outcome := 'in-use'; return; end if;
  update repositories set removing = true where id = r.id;
  update tickets set state = 'FAILED', workspace_id = null, fence = null,
         failure = jsonb_build_object('reason', 'REPOSITORY_NOT_FOUND', 'message', 'the repository was removed', 'metadata', '{}'::jsonb)
   where repository_id = r.id and state in ('OPEN', 'WAITING');
  for v in select l.workspace_id, l.fence from leases l join workspaces w on w.id = l.workspace_id
            where w.repository_id = r.id and l.end_time is null order by l.workspace_id
  loop
    perform end_lease(v.workspace_id, v.fence, 'RECLAIMED', true, false);
  end loop;
  for v in select w.id from workspaces w where w.repository_id = r.id and w.state in ('IDLE', 'PARKED', 'QUARANTINED') order by w.id
  loop
    perform reclaim_workspace(v.id);
  end loop;
  outcome := 'removing';
end $$;

create or replace function remove_host(p_name text, p_force bool, out outcome text, out leases int) language plpgsql as $$
declare
  h hosts;
  w workspaces;
  v record;
begin
  select * into h from hosts x where x.name = p_name and not x.removed for update;
  if not found then outcome := 'unknown'; return; end if;
  if h.server_id is not null and h.seen_time > clock_timestamp() - interval '5 seconds' then outcome := 'owned'; return; end if;
  select count(*) into leases from workspaces x where x.host_id = h.id and x.state = 'LEASED';
  if leases > 0 and not p_force then outcome := 'in-use'; return; end if;
  for v in select l.workspace_id, l.fence from leases l join workspaces x on x.id = l.workspace_id
            where x.host_id = h.id and l.end_time is null order by l.workspace_id
  loop
    perform end_lease(v.workspace_id, v.fence, 'RECLAIMED', true, false);
  end loop;
  for v in select x.id, x.state from workspaces x where x.host_id = h.id and x.state <> 'RETIRED' order by x.id
  loop
    update workspaces x set state = 'RETIRED', worker = null, idle_time = null, fence = x.fence + 1 where x.id = v.id returning * into w;
    perform emit_workspace('WORKSPACE_RETIRED', w, v.state, 'its host was removed');
  end loop;
  delete from mirrors m where m.host_id = h.id;
  update tickets set state = 'FAILED', workspace_id = null, fence = null,
         failure = jsonb_build_object('reason', 'HOST_NOT_FOUND', 'message', 'the host was removed', 'metadata', '{}'::jsonb)
   where host_id = h.id and state in ('OPEN', 'WAITING', 'GRANTED');
  update hosts x set removed = true, server_id = null where x.id = h.id;
  insert into outbox (kind, host) values ('HOST_REMOVED', h.name);
  outcome := 'removed';
end $$;

create or replace function finish_removals() returns setof text language plpgsql as $$
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
  for r in select * from repositories x where x.removing
              and not exists (select from workspaces w where w.repository_id = x.id and w.state <> 'RETIRED')
            for update skip locked
  loop
    delete from workspaces w where w.repository_id = r.id;
    delete from repositories x where x.id = r.id;
    perform emit_repository('REPOSITORY_REMOVED', r.name, '', '');
    return next r.name;
  end loop;
end $$;

create or replace function claim_missing_idle(p_server bigint, p_host int, p_root text, p_limit int)
returns table (workspace bigint, fence bigint, repository_id int, path text)
language plpgsql as $$
#variable_conflict use_column
declare
  r record;
  w workspaces;
begin
  if not exists (select from hosts h where h.id = p_host and h.server_id = p_server) then return; end if;
  for r in select x.id, x.name, x.stable_path, x.min_idle, x.max_workspaces from repositories x
             join mirrors m on m.repository_id = x.id and m.host_id = p_host and m.state = 'READY'
            where x.min_idle > 0 and not x.paused and not x.removing
              -- nothing is made ahead while somebody waits: the queue makes its own
              and not exists (select from tickets t where t.repository_id = x.id and t.host_id = p_host and t.state in ('OPEN', 'WAITING'))
            order by x.id
  loop
    exit when p_limit <= 0;
    perform lock_queue(r.id, p_host);
    while p_limit > 0
      and (select count(*) from workspaces x where x.repository_id = r.id and x.host_id = p_host
             and x.state in ('IDLE', 'PREPARING', 'CLEANING') and not x.removing) < r.min_idle
      and (select count(*) from workspaces x where x.repository_id = r.id and x.host_id = p_host
             and x.state in ('IDLE', 'PREPARING', 'LEASED', 'CLEANING', 'PARKED')) < r.max_workspaces
    loop
      insert into workspaces (repository_id, host_id, state, path, worker, claim_time)
      values (r.id, p_host, 'PREPARING', '', p_server, clock_timestamp()) returning * into w;
      update workspaces x set path = new_path(p_root, r.name, x.id, x.fence, r.stable_path) where x.id = w.id returning * into w;
      perform emit_workspace('WORKSPACE_CREATED', w, null, 'made ahead');
      workspace := w.id; fence := w.fence; repository_id := r.id; path := w.path;
      return next;
      p_limit := p_limit - 1;
    end loop;
  end loop;
end $$;
