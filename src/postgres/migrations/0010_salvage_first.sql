-- Owns what leases and workspaces do since 0009 is law: guard_work begins with a lease, and no way out takes it away.

create or replace function activate_ticket(p_server bigint, p_ticket bigint, p_workspace bigint, p_fence bigint, p_commit text, p_head text,
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
         refs_version = p_refs_version, attempts = 0, problem = '', guard_work = true
   where x.id = p_workspace and x.fence = p_fence returning * into w;
  insert into leases (workspace_id, fence, ticket_id, caller, holder, revision, commit_id, labels, source, fetch_time, timings, ttl, expire_time)
  values (p_workspace, p_fence, t.id, t.caller, t.spec ->> 'holder', t.spec ->> 'revision', p_commit, t.spec -> 'labels', p_source,
          p_fetch_time, p_timings, v_ttl, clock_timestamp() + v_ttl) returning * into l;
  update tickets set state = 'LEASED' where id = t.id;
  perform emit_lease('LEASE_ACQUIRED', w, 'PREPARING', l);
  if t.spec ? 'restore' then
    insert into outbox (kind, repository, host, workspace_id, version, lease_fence, fence, holder, caller, labels, previous_state, state,
                        salvage_id)
    select 'SALVAGE_RESTORED', r.name, h.name, w.id, w.version, l.fence, l.fence, l.holder, l.caller, l.labels, w.state, w.state,
           t.spec #>> '{restore,salvageId}'
      from repositories r, hosts h where r.id = w.repository_id and h.id = w.host_id;
  end if;
  return query select * from grant_rows g where g.id = p_workspace and g.lease_fence = p_fence;
end $$;

drop function end_lease(bigint, bigint, text, bool, bool);

-- outcome: ended, already, unknown, or live (EXPIRED only: a heartbeat came first)
create function end_lease(p_workspace bigint, p_fence bigint, p_reason text, p_removing bool, out outcome text, out reason text)
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
         removing = p_removing
   where x.id = p_workspace and x.fence = p_fence returning * into w;
  perform emit_lease('LEASE_ENDED', w, 'LEASED', l);
  outcome := 'ended'; reason := p_reason;
end $$;

create or replace function end_undelivered(p_ticket bigint) returns bool language plpgsql as $$
declare
  t tickets;
begin
  select * into t from tickets x where x.id = p_ticket;
  if t.workspace_id is null then return false; end if;
  perform lock_workspace(t.workspace_id);
  select * into t from tickets x where x.id = p_ticket for update;
  if t.state is distinct from 'LEASED' or t.delivered or t.server_id is not null then return false; end if;
  return (select outcome from end_lease(t.workspace_id, t.fence, 'RELEASED', false)) = 'ended';
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
    if (select outcome from end_lease(v.workspace_id, v.fence, 'EXPIRED', false)) = 'ended' then n := n + 1; end if;
  end loop;
  return n;
end $$;

create or replace function reclaim_workspace(p_workspace bigint) returns text language plpgsql as $$
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
  update workspaces x set state = 'CLEANING', fence = x.fence + 1, removing = true, idle_time = null, attempts = 0, retry_time = null
   where x.id = w.id and x.fence = w.fence returning * into w;
  perform emit_workspace('WORKSPACE_CLAIMED', w, v_previous, 'reclaimed');
  return 'removed';
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
    perform end_lease(w.id, w.fence, 'RESET', false);
    select * into w from workspaces x where x.id = p_workspace;
  elsif v_previous in ('IDLE', 'QUARANTINED') then
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
    perform end_lease(v.workspace_id, v.fence, 'RECLAIMED', true);
  end loop;
  for v in select w.id from workspaces w where w.repository_id = r.id and w.state in ('IDLE', 'QUARANTINED') order by w.id
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
    perform end_lease(v.workspace_id, v.fence, 'RECLAIMED', true);
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

-- a lease whose work is still to be salvaged is remembered: the salvage is named after it
create or replace function keep_house(p_retention interval) returns void language plpgsql as $$
begin
  if not pg_try_advisory_xact_lock(70, 2) then return; end if;
  delete from tickets t where t.state in ('OPEN', 'WAITING', 'FAILED') and not is_alive(t.server_id)
     and (not t.kept or coalesce(t.leave_time, (select s.seen_time from servers s where s.id = t.server_id), t.create_time)
                        < clock_timestamp() - interval '30 seconds');
  delete from tickets t using leases l where t.state = 'LEASED' and l.workspace_id = t.workspace_id and l.fence = t.fence
     and l.end_time < clock_timestamp() - case when t.kept then interval '24 hours' else interval '1 minute' end;
  delete from tickets t where t.state = 'LEASED'
     and not exists (select from leases l where l.workspace_id = t.workspace_id and l.fence = t.fence);
  delete from leases l where l.end_time < clock_timestamp() - greatest(p_retention, interval '25 hours')
     and not exists (select from workspaces w where w.id = l.workspace_id and w.guard_work and w.state <> 'RETIRED');
  delete from workspaces w where w.state = 'RETIRED' and not exists (select from leases l where l.workspace_id = w.id)
     and w.create_time < clock_timestamp() - greatest(p_retention, interval '25 hours');
  delete from servers s where s.seen_time < clock_timestamp() - interval '1 day'
     and not exists (select from hosts h where h.server_id = s.id);
end $$;

drop function register_repository(text, text, text, int, int, bool, text, jsonb, bool, bool);

-- outcome: registered, same, differs
create function register_repository(p_name text, p_fallback_name text, p_url text, p_min_idle int, p_max_workspaces int, p_stable_path bool,
                                    p_credential text, p_labels jsonb, p_paused bool, p_salvage_ttl_ms bigint, p_given_name bool,
                                    out outcome text, out repository int)
language plpgsql as $$
declare
  r repositories;
  v_name text := p_name;
begin
  -- one registration at a time: names and URLs are decided together
  perform pg_advisory_xact_lock(70, 3);
  select * into r from repositories x where x.url = p_url;
  if not found and p_given_name then
    select * into r from repositories x where x.name = p_name;
  end if;
  if r.id is not null then
    repository := r.id;
    outcome := case
      when r.url = p_url and not r.removing and (not p_given_name or r.name = p_name) and r.min_idle = p_min_idle
       and r.max_workspaces = p_max_workspaces and r.stable_path = p_stable_path and r.credential = p_credential
       and r.labels = p_labels and r.paused = p_paused and r.salvage_ttl_ms = p_salvage_ttl_ms then 'same' else 'differs' end;
    return;
  end if;
  if exists (select from repositories x where x.name = v_name) then v_name := p_fallback_name; end if;
  insert into repositories (name, url, min_idle, max_workspaces, stable_path, credential, labels, paused, salvage_ttl_ms)
  values (v_name, p_url, p_min_idle, p_max_workspaces, p_stable_path, p_credential, p_labels, p_paused, p_salvage_ttl_ms) returning * into r;
  perform emit_repository('REPOSITORY_REGISTERED', r.name, '', r.url);
  repository := r.id;
  outcome := 'registered';
end $$;
