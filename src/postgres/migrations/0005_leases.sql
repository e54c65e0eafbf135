-- Owns the beginning and the end of leases.
-- 1. Whoever mints or ends a lease holds the workspace's advisory lock, and compares and sets the fence besides.
-- 2. Lock order: workspace lock, workspace row, lease row, ticket row.

-- leases and workspaces as the outside sees them
create view lease_rows as
  select l.workspace_id as lease_workspace, l.fence as lease_fence, r.name as lease_repository, h.name as lease_host,
         l.revision, l.commit_id as lease_commit, l.holder, l.caller, l.labels, l.source, l.fetch_time as lease_fetch_time, l.timings,
         (extract(epoch from l.ttl) * 1000)::float8 as ttl_ms,
         case when l.end_time is not null then 0
              else greatest(extract(epoch from l.expire_time - clock_timestamp()) * 1000, 0) end::float8 as remaining_ms,
         l.acquire_time, l.expire_time, l.end_time, l.end_reason
    from leases l
    join workspaces w on w.id = l.workspace_id
    join repositories r on r.id = w.repository_id
    join hosts h on h.id = w.host_id;

create view workspace_rows as
  select w.id, r.name as repository, h.name as host, w.path, w.state, w.version, w.fence, w.commit_id, w.head, w.problem,
         w.create_time, w.idle_time
    from workspaces w
    join repositories r on r.id = w.repository_id
    join hosts h on h.id = w.host_id;

-- both at once: what Acquire answers
create view grant_rows as
  select w.id, l.lease_repository as repository, l.lease_host as host, w.path, w.state, w.version, w.fence, w.commit_id, w.head,
         w.problem, w.create_time, w.idle_time, l.*
    from lease_rows l join workspaces w on w.id = l.lease_workspace;

-- the lease and its workspace; nothing if the grant was lost or nobody attends the ticket
create function activate_ticket(p_server bigint, p_ticket bigint, p_workspace bigint, p_fence bigint, p_commit text, p_head text,
                                p_refs_version bigint, p_source text, p_fetch_time timestamptz, p_timings jsonb)
returns setof grant_rows
language plpgsql as $$
declare
  t tickets;
  w workspaces;
  l leases;
  v_ttl interval;
begin
  perform lock_workspace(p_workspace);
  select * into w from workspaces x where x.id = p_workspace for update;
  select * into t from tickets x where x.id = p_ticket for update;
  -- LEASED by us: the reply to an earlier call was lost
  if t.state = 'LEASED' and t.workspace_id = p_workspace and t.fence = p_fence then
    return query select * from grant_rows g where g.id = p_workspace and g.lease_fence = p_fence;
    return;
  end if;
  if w.state <> 'PREPARING' or w.fence <> p_fence or w.worker is distinct from p_server
     or t.id is null or t.state <> 'GRANTED' or t.workspace_id <> p_workspace or t.fence <> p_fence or not is_alive(t.server_id) then
    return;
  end if;
  v_ttl := make_interval(secs => (t.spec ->> 'ttlMs')::float8 / 1000);
  update workspaces x set state = 'LEASED', worker = null, claim_time = null, commit_id = p_commit, head = p_head,
         refs_version = p_refs_version, attempts = 0, problem = ''
   where x.id = p_workspace and x.fence = p_fence returning * into w;
  insert into leases (workspace_id, fence, ticket_id, caller, holder, revision, commit_id, labels, source, fetch_time, timings, ttl, expire_time)
  values (p_workspace, p_fence, t.id, t.caller, t.spec ->> 'holder', t.spec ->> 'revision', p_commit, t.spec -> 'labels', p_source,
          p_fetch_time, p_timings, v_ttl, clock_timestamp() + v_ttl) returning * into l;
  update tickets set state = 'LEASED' where id = t.id;
  perform emit_lease('LEASE_ACQUIRED', w, 'PREPARING', l);
  return query select * from grant_rows g where g.id = p_workspace and g.lease_fence = p_fence;
end $$;

-- outcome: ended, already, unknown, or live (EXPIRED only: a heartbeat came first)
create function end_lease(p_workspace bigint, p_fence bigint, p_reason text, p_removing bool, p_guard bool,
                          out outcome text, out reason text)
language plpgsql as $$
declare
  w workspaces;
  l leases;
begin
  perform lock_workspace(p_workspace);
  select * into w from workspaces x where x.id = p_workspace for update;
  select * into l from leases x where x.workspace_id = p_workspace and x.fence = p_fence for update;
  if l.workspace_id is null then outcome := 'unknown'; return; end if;
  if l.end_time is not null then outcome := 'already'; reason := l.end_reason; return; end if;
  if p_reason = 'EXPIRED' and l.expire_time >= clock_timestamp() then outcome := 'live'; return; end if;
  update leases x set end_time = clock_timestamp(), end_reason = p_reason
   where x.workspace_id = p_workspace and x.fence = p_fence and x.end_time is null returning * into l;
  update workspaces x set state = 'CLEANING', fence = x.fence + 1, worker = null, claim_time = null, attempts = 0, retry_time = null,
         removing = p_removing, guard_work = p_guard
   where x.id = p_workspace and x.fence = p_fence returning * into w;
  perform emit_lease('LEASE_ENDED', w, 'LEASED', l);
  outcome := 'ended'; reason := p_reason;
end $$;

-- a lease that nobody was told of, and for which nobody waits any more, is released
create function end_undelivered(p_ticket bigint) returns bool language plpgsql as $$
declare
  t tickets;
begin
  select * into t from tickets x where x.id = p_ticket;
  if t.workspace_id is null then return false; end if;
  perform lock_workspace(t.workspace_id);
  select * into t from tickets x where x.id = p_ticket for update;
  if t.state is distinct from 'LEASED' or t.delivered or t.server_id is not null then return false; end if;
  return (select outcome from end_lease(t.workspace_id, t.fence, 'RELEASED', false, false)) = 'ended';
end $$;

-- ends overdue leases of a host, if its owner, who asks, has been well for their whole time to live
create function expire_leases(p_server bigint, p_host int, p_limit int) returns int language plpgsql as $$
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

-- outcome: removed, leased, busy, unknown
create function reclaim_workspace(p_workspace bigint) returns text language plpgsql as $$
declare
  w workspaces;
  v_previous text;
begin
  perform lock_workspace(p_workspace);
  select * into w from workspaces x where x.id = p_workspace for update;
  if w.id is null or w.state = 'RETIRED' then return 'unknown'; end if;
  if w.state = 'LEASED' then return 'leased'; end if;
  if w.state = 'CLEANING' then
    update workspaces x set removing = true where x.id = w.id;
    return 'removed';
  end if;
  if w.state = 'PREPARING' then return 'busy'; end if;
  v_previous := w.state;
  update workspaces x set state = 'CLEANING', fence = x.fence + 1, removing = true, guard_work = (v_previous = 'QUARANTINED'),
         idle_time = null, attempts = 0, retry_time = null
   where x.id = w.id and x.fence = w.fence returning * into w;
  perform emit_workspace('WORKSPACE_CLAIMED', w, v_previous, 'reclaimed');
  return 'removed';
end $$;

-- outcome: reset, ended, live, mismatch, unknown
create function reset_workspace(p_workspace bigint, p_expected_fence bigint, p_force bool, p_abandon bool) returns text
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
    perform end_lease(w.id, w.fence, 'RESET', false, not p_abandon);
    select * into w from workspaces x where x.id = p_workspace;
  elsif v_previous in ('IDLE', 'QUARANTINED') then
    -- without its commit nothing of the trusted index is believed: everything is read again
    update workspaces x set state = 'CLEANING', fence = x.fence + 1, removing = false, commit_id = '', idle_time = null, problem = '',
           guard_work = (v_previous = 'QUARANTINED' and not p_abandon), attempts = 0, retry_time = null
     where x.id = w.id and x.fence = w.fence returning * into w;
    perform emit_workspace('WORKSPACE_CLAIMED', w, v_previous, 'reset');
  end if;
  if p_abandon then
    update workspaces x set guard_work = false where x.id = w.id;
    perform emit_workspace('WORK_ABANDONED', w, v_previous, '');
  end if;
  return case when v_previous = 'LEASED' then 'ended' else 'reset' end;
end $$;
