-- Owns bindings: a caller's key that brings it back to the same workspace, and parking, which leaves the files for it.
-- 1. A binding is a caller's within a repository, over all hosts, and has one workspace at most.
-- 2. It is held from the grant until what its workspace holds is salvaged: nobody gets another workspace for it while work of it
--    could still be lost.
-- 3. A ticket that only its own binding can serve stands before nobody.
-- 4. A parked workspace keeps verify_time: nobody but its binding has had it since.

alter table workspaces drop constraint workspace_state_is_known;
alter table workspaces add constraint workspace_state_is_known
  check (state in ('PREPARING', 'IDLE', 'LEASED', 'CLEANING', 'PARKED', 'QUARANTINED', 'RETIRED'));
alter table workspaces add column binding text not null default '';
alter table workspaces add column bound_caller text not null default '';
alter table workspaces add column park_time timestamptz;
alter table workspaces add constraint parked_workspaces_have_a_park_time check ((state = 'PARKED') = (park_time is not null));
alter table workspaces add constraint parked_workspaces_have_a_binding check (state <> 'PARKED' or binding <> '');
alter table workspaces add constraint only_work_is_bound check (binding = '' or state in ('PREPARING', 'LEASED', 'CLEANING', 'PARKED'));
create unique index one_workspace_per_binding on workspaces (repository_id, bound_caller, binding) where binding <> '';
create index parked_by_time on workspaces (repository_id, host_id, park_time) where state = 'PARKED';

insert into workspace_transitions (previous, next) values
  ('LEASED', 'PARKED'), ('PARKED', 'PREPARING'), ('PARKED', 'CLEANING'), ('PARKED', 'RETIRED'), ('PREPARING', 'PARKED');

alter table leases add column binding text not null default '';
-- what the revision named, where the files stayed as they were
alter table leases add column resolved_commit text not null default '';
alter table leases add column lost_salvage text not null default '';
alter table leases drop constraint source_is_known;
alter table leases add constraint source_is_known check (source in ('WARM', 'REUSED', 'CREATED', 'BOUND'));
alter table leases drop constraint end_reason_is_known;
alter table leases add constraint end_reason_is_known
  check (end_reason in ('RELEASED', 'PARKED', 'EXPIRED', 'RECLAIMED', 'RESET', 'FAILED'));
create index leases_of_bindings on leases (caller, binding, acquire_time) where binding <> '';
alter table salvages add column binding text not null default '';
alter table tickets add column awaits_binding bool not null default false;
-- a parked workspace is being given up for it: it is no longer answered that the pool is exhausted
alter table tickets add column evicting bool not null default false;
alter table outbox add column binding text not null default '';
alter table events add column binding text not null default '';

create function lock_binding(p_repository int, p_caller text, p_binding text) returns void language sql as $$
  select pg_advisory_xact_lock(75, hashtext(p_repository || E'\n' || p_caller || E'\n' || p_binding))
$$;

create or replace function guard_workspace() returns trigger language plpgsql as $$
begin
  if new.fence < old.fence then
    raise exception 'the fence of workspace % would fall', old.id using constraint = 'fence_never_falls';
  end if;
  if new.state <> old.state then
    if not exists (select from workspace_transitions t where t.previous = old.state and t.next = new.state) then
      raise exception 'workspace % cannot go from % to %', old.id, old.state, new.state using constraint = 'transition_is_legal';
    end if;
    new.version := old.version + 1;
    if new.state = 'CLEANING' then new.verify_time := null; else new.verifying := false; end if;
    new.park_time := case when new.state = 'PARKED' then clock_timestamp() end;
    if new.state = 'LEASED' and new.verify_time is null then
      raise exception 'workspace % was not verified', old.id using constraint = 'leased_workspaces_are_verified';
    end if;
  end if;
  -- nothing is left that the binding could come back to
  if new.state in ('IDLE', 'QUARANTINED', 'RETIRED') or (new.state = 'CLEANING' and not new.guard_work) then
    new.binding := '';
    new.bound_caller := '';
  end if;
  return new;
end $$;

create or replace function emit_workspace(p_kind text, p_workspace workspaces, p_previous text, p_detail text) returns void language sql as $$
  insert into outbox (kind, repository, host, workspace_id, version, fence, previous_state, state, detail, binding)
  select p_kind, r.name, h.name, p_workspace.id, p_workspace.version, p_workspace.fence, p_previous, p_workspace.state, p_detail,
         p_workspace.binding
    from repositories r, hosts h where r.id = p_workspace.repository_id and h.id = p_workspace.host_id
$$;

create or replace function emit_lease(p_kind text, p_workspace workspaces, p_previous text, p_lease leases) returns void language sql as $$
  insert into outbox (kind, repository, host, workspace_id, version, lease_fence, fence, holder, caller, labels, reason, previous_state, state,
                      binding)
  select p_kind, r.name, h.name, p_workspace.id, p_workspace.version, p_lease.fence, p_lease.fence, p_lease.holder, p_lease.caller,
         p_lease.labels, p_lease.end_reason, p_previous, p_workspace.state, p_lease.binding
    from repositories r, hosts h where r.id = p_workspace.repository_id and h.id = p_workspace.host_id
$$;

create or replace function publish_events(p_limit int, out oldest bigint, out newest bigint, out published bigint) language plpgsql as $$
begin
  perform pg_advisory_xact_lock(70, 1);
  select m.oldest_revision, m.newest_revision into oldest, newest from meta m;
  with taken as (
    delete from outbox where id in (select id from outbox order by id limit p_limit) returning *
  ), numbered as (
    insert into events (revision, kind, repository, host, workspace_id, version, lease_fence, fence, holder, caller,
                        labels, reason, previous_state, state, detail, event_time, salvage_id, binding)
    select newest + row_number() over (order by t.id), t.kind, t.repository, t.host, t.workspace_id, t.version, t.lease_fence, t.fence,
           t.holder, t.caller, t.labels, t.reason, t.previous_state, t.state, t.detail, t.event_time, t.salvage_id, t.binding
      from taken t returning 1
  )
  select count(*) into published from numbered;
  if published > 0 then
    update meta set newest_revision = newest + published returning newest_revision into newest;
  end if;
end $$;

-- the salvage of what the binding's last lease left, if it is still there
create function lost_salvage(p_repository text, p_caller text, p_binding text) returns text language sql stable as $$
  select coalesce((select s.id from salvages s where s.repository = p_repository and s.caller = p_caller and s.binding = p_binding
                      and s.removal is null
                      and (s.workspace_id, s.fence) = (select l.workspace_id, l.fence from leases l
                                                         join workspaces w on w.id = l.workspace_id
                                                         join repositories r on r.id = w.repository_id and r.name = p_repository
                                                        where l.caller = p_caller and l.binding = p_binding
                                                        order by l.acquire_time desc limit 1)), '')
$$;

create or replace function settle_salvage(p_server bigint, p_workspace bigint, p_fence bigint, p_saved jsonb) returns bool language plpgsql as $$
declare
  w workspaces;
  r repositories;
  l leases;
  s salvages;
begin
  select * into w from workspaces x where x.id = p_workspace and x.fence = p_fence and x.worker = p_server and x.state = 'CLEANING' for update;
  if not found then return false; end if;
  update workspaces x set guard_work = false where x.id = w.id;
  if p_saved is null then return true; end if;
  l := last_lease(w.id);
  select * into r from repositories x where x.id = w.repository_id;
  insert into salvages (id, workspace_id, fence, repository, host_id, host, holder, caller, labels, reason, base_commit,
                        repository_path, ref, commit_id, files, commits, bytes, incomplete, expire_time, binding)
  select 's' || w.id || '.' || coalesce(l.fence, 0), w.id, coalesce(l.fence, 0), r.name, h.id, h.name, coalesce(l.holder, ''),
         coalesce(l.caller, ''), coalesce(l.labels, '{}'), l.end_reason, coalesce(l.commit_id, w.commit_id),
         p_saved ->> 'repositoryPath', p_saved ->> 'ref', p_saved ->> 'commit', (p_saved ->> 'files')::bigint,
         (p_saved ->> 'commits')::bigint, (p_saved ->> 'bytes')::bigint, p_saved -> 'incomplete',
         clock_timestamp() + make_interval(secs => r.salvage_ttl_ms / 1000.0), coalesce(l.binding, '')
    from hosts h where h.id = w.host_id
      on conflict (id) do nothing returning * into s;
  if s.id is not null then
    perform emit_salvage('SALVAGE_CREATED', s, format('%s files, %s commits', s.files, s.commits));
    return true;
  end if;
  -- the reply to an earlier call was lost, or the lease is forgotten and left work before
  update salvages x set commit_id = p_saved ->> 'commit', files = (p_saved ->> 'files')::bigint, commits = (p_saved ->> 'commits')::bigint,
         bytes = (p_saved ->> 'bytes')::bigint, incomplete = p_saved -> 'incomplete'
   where x.workspace_id = w.id and x.fence = coalesce(l.fence, 0) and x.commit_id <> p_saved ->> 'commit';
  return true;
end $$;

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

-- guard_work stays: only what was parked has it
create or replace function give_back(p_server bigint, p_ticket bigint, p_workspace bigint, p_fence bigint, p_to text) returns bool
language plpgsql as $$
declare
  w workspaces;
begin
  perform lock_workspace(p_workspace);
  update workspaces x set state = p_to, worker = null, claim_time = null,
         idle_time = case when p_to = 'IDLE' then clock_timestamp() end,
         fence = x.fence + 1
   where x.id = p_workspace and x.fence = p_fence and x.worker = p_server and x.state = 'PREPARING' returning * into w;
  if not found then return false; end if;
  perform emit_workspace(case p_to when 'IDLE' then 'WORKSPACE_READY' when 'PARKED' then 'WORKSPACE_PARKED' else 'WORKSPACE_CLAIMED' end,
                         w, 'PREPARING', 'given back');
  update tickets set state = 'OPEN', workspace_id = null, fence = null
   where id = p_ticket and state = 'GRANTED' and workspace_id = p_workspace and fence = p_fence;
  return true;
end $$;

create or replace function leave_ticket(p_server bigint, p_ticket bigint, p_forget bool, out place int, out gone bool)
language plpgsql as $$
declare
  t tickets;
begin
  place := 0;
  select * into t from tickets where id = p_ticket for update;
  gone := not found;
  if gone or t.server_id is distinct from p_server then return; end if;
  if t.state = 'WAITING' then
    select count(*) + 1 into place from tickets x
     where x.repository_id = t.repository_id and x.host_id = t.host_id and x.state = 'WAITING' and x.id < t.id and not x.awaits_binding
       and is_alive(x.server_id);
  end if;
  if t.state in ('OPEN', 'WAITING', 'FAILED') and (p_forget or not t.kept) then
    delete from tickets where id = t.id;
    gone := true;
  else
    update tickets set server_id = null, leave_time = clock_timestamp() where id = t.id;
  end if;
end $$;

drop function grant_ticket(bigint, bigint, text, text, bigint, text);
-- outcome: granted, waiting, exhausted, gone, paused; of bindings held (waits for its own), in-use, elsewhere; evicting: a place is
-- being made for it, and it goes on asking, whether or not it may wait
create function grant_ticket(p_server bigint, p_ticket bigint, p_commit text, p_head text, p_refs_version bigint, p_root text,
                             out outcome text, out place int, out elsewhere text, out workspace bigint, out granted_fence bigint,
                             out granted_path text, out from_commit text, out origin text)
language plpgsql as $$
declare
  t tickets;
  r repositories;
  w workspaces;
  v_id bigint;
  v_before int;
  v_binding text;
  v_making bool;
  v_evicted bigint;
begin
  select * into t from tickets where id = p_ticket;
  if not found then outcome := 'gone'; return; end if;
  perform lock_queue(t.repository_id, t.host_id);
  select * into t from tickets where id = p_ticket for update;
  if not found or t.state not in ('OPEN', 'WAITING', 'GRANTED') or not is_alive(t.server_id) then outcome := 'gone'; return; end if;
  if t.state = 'GRANTED' then
    -- the reply to an earlier call was lost
    select * into w from workspaces x where x.id = t.workspace_id and x.fence = t.fence and x.worker = p_server and x.state = 'PREPARING';
    if not found then outcome := 'gone'; return; end if;
    outcome := 'granted'; workspace := w.id; granted_fence := w.fence; granted_path := w.path;
    -- of one that was parked nothing may be moved; any other may be made anew
    if w.guard_work then from_commit := w.commit_id; origin := 'bound'; else from_commit := ''; origin := 'new'; end if;
    return;
  end if;
  select * into r from repositories where id = t.repository_id;
  if r.paused or r.removing then outcome := 'paused'; return; end if;

  v_binding := coalesce(t.spec ->> 'binding', '');
  if v_binding <> '' then
    perform lock_binding(t.repository_id, t.caller, v_binding);
    select * into w from workspaces x where x.repository_id = t.repository_id and x.bound_caller = t.caller and x.binding = v_binding;
    if w.id is not null then
      if w.host_id <> t.host_id then
        outcome := 'elsewhere';
        elsewhere := (select h.name from hosts h where h.id = w.host_id);
        return;
      end if;
      if w.state = 'PARKED' and try_lock_workspace(w.id) then
        update workspaces x set state = 'PREPARING', fence = x.fence + 1, worker = p_server, claim_time = clock_timestamp(),
               attempts = 0, retry_time = null
         where x.id = w.id and x.fence = w.fence and x.state = 'PARKED' returning * into w;
        if found then
          perform emit_workspace('WORKSPACE_CLAIMED', w, 'PARKED', 'granted');
          update tickets set state = 'GRANTED', workspace_id = w.id, fence = w.fence, awaits_binding = false where id = t.id;
          outcome := 'granted'; workspace := w.id; granted_fence := w.fence; granted_path := w.path; from_commit := w.commit_id;
          origin := 'bound';
          return;
        end if;
      end if;
      -- held, or what it holds is being salvaged: it waits for that, and stands before nobody
      place := 1;
      outcome := case when (t.spec ->> 'mayWait')::bool then 'held' when w.state = 'LEASED' then 'in-use' else 'evicting' end;
      update tickets set awaits_binding = true, state = case when outcome = 'held' then 'WAITING' else state end where id = t.id;
      return;
    end if;
  end if;

  select count(*) into v_before from tickets x
   where x.repository_id = t.repository_id and x.host_id = t.host_id and x.state = 'WAITING' and x.id < t.id and not x.awaits_binding
     and is_alive(x.server_id);
  if v_before = 0 then
    for v_id in select x.id from workspaces x
                 where x.repository_id = t.repository_id and x.host_id = t.host_id and x.state = 'IDLE' and x.commit_id = p_commit
                 order by x.idle_time desc limit 50
    loop
      continue when not try_lock_workspace(v_id);
      select * into w from workspaces x where x.id = v_id and x.state = 'IDLE' for update skip locked;
      exit when found;
    end loop;
    if w.id is null then
      for v_id in select x.id from workspaces x
                   where x.repository_id = t.repository_id and x.host_id = t.host_id and x.state = 'IDLE'
                   -- without a limit all of them would be read and sorted; few are locked by others
                   order by x.idle_time desc limit 50
      loop
        continue when not try_lock_workspace(v_id);
        select * into w from workspaces x where x.id = v_id and x.state = 'IDLE' for update skip locked;
        exit when found;
      end loop;
    end if;
    if w.id is not null then
      origin := case when w.commit_id = p_commit and w.head = p_head and w.refs_version = p_refs_version then 'exact' else 'idle' end;
      from_commit := w.commit_id;
      update workspaces x set state = 'PREPARING', fence = x.fence + 1, worker = p_server, claim_time = clock_timestamp(),
             idle_time = null, attempts = 0, retry_time = null
       where x.id = w.id and x.fence = w.fence returning * into w;
      perform emit_workspace('WORKSPACE_CLAIMED', w, 'IDLE', 'granted');
    elsif (select count(*) from workspaces x where x.repository_id = r.id and x.host_id = t.host_id
             and x.state in ('PREPARING', 'IDLE', 'LEASED', 'CLEANING', 'PARKED')) < r.max_workspaces then
      insert into workspaces (repository_id, host_id, state, path, worker, claim_time)
      values (r.id, t.host_id, 'PREPARING', '', p_server, clock_timestamp()) returning * into w;
      update workspaces x set path = new_path(p_root, r.name, x.id, x.fence, r.stable_path) where x.id = w.id returning * into w;
      origin := 'new';
      from_commit := '';
      perform emit_workspace('WORKSPACE_CREATED', w, null, '');
    end if;
  end if;

  if w.id is null and v_before = 0 then
    -- before anybody is refused, the least recently parked one is given up; not more of them than there are tickets in need
    v_making := exists (select from workspaces x where x.repository_id = r.id and x.host_id = t.host_id and x.state = 'CLEANING' and not x.removing);
    if not (t.evicting and v_making) then
      select x.id into v_evicted from workspaces x where x.repository_id = r.id and x.host_id = t.host_id and x.state = 'PARKED'
       order by x.park_time limit 1;
      if try_lock_workspace(v_evicted) then
        update workspaces x set state = 'CLEANING', fence = x.fence + 1, removing = false, attempts = 0, retry_time = null
         where x.id = v_evicted and x.state = 'PARKED' returning * into w;
        if found then perform emit_workspace('WORKSPACE_CLAIMED', w, 'PARKED', 'evicted'); end if;
        w := null;
      end if;
    end if;
    if v_evicted is not null or (t.evicting and v_making) then
      update tickets set evicting = true, awaits_binding = false where id = t.id;
      place := 1;
      outcome := 'evicting';
      return;
    end if;
  end if;
  if w.id is null then
    place := v_before + 1;
    if coalesce((t.spec ->> 'mayWait')::bool, false) then
      update tickets set state = 'WAITING', awaits_binding = false where id = t.id and (state <> 'WAITING' or awaits_binding);
      outcome := 'waiting';
    else
      outcome := 'exhausted';
    end if;
    return;
  end if;
  if v_binding <> '' then
    update workspaces x set binding = v_binding, bound_caller = t.caller where x.id = w.id returning * into w;
  end if;
  update tickets set state = 'GRANTED', workspace_id = w.id, fence = w.fence, awaits_binding = false where id = t.id;
  outcome := 'granted'; workspace := w.id; granted_fence := w.fence; granted_path := w.path;
end $$;

create or replace function claim_work(p_server bigint, p_host int, p_known bigint[], p_root text, p_limit int)
returns table (workspace bigint, fence bigint, repository_id int, kind text, path text, candidates text[], from_commit text, from_head text,
               lease_time timestamptz, guard_work bool, attempt int)
language plpgsql as $$
#variable_conflict use_column
declare
  w workspaces;
  r repositories;
  v_id bigint;
  v_previous text;
begin
  if not exists (select from hosts h where h.id = p_host and h.server_id = p_server) then return; end if;
  for v_id in select x.id from workspaces x
               where x.host_id = p_host and x.state in ('PREPARING', 'CLEANING') and x.id <> all (p_known)
                 and (x.retry_time is null or x.retry_time < clock_timestamp())
                 -- ours and unknown: the reply to an earlier claim was lost, or is on its way
                 and (x.worker is distinct from p_server or x.claim_time < clock_timestamp() - interval '10 seconds')
               order by x.claim_time nulls first, x.id limit p_limit
  loop
    continue when not try_lock_workspace(v_id);
    select * into w from workspaces x where x.id = v_id and x.state in ('PREPARING', 'CLEANING')
       and (x.worker is distinct from p_server or x.claim_time < clock_timestamp() - interval '10 seconds') for update skip locked;
    continue when not found;
    select * into r from repositories x where x.id = w.repository_id;
    v_previous := w.state;
    update tickets t set state = 'OPEN', workspace_id = null, fence = null
     where t.state = 'GRANTED' and t.workspace_id = w.id and t.fence = w.fence;
    if w.state = 'PREPARING' and w.guard_work then
      -- its files are as they were parked
      update workspaces x set state = 'PARKED', fence = x.fence + 1, worker = null, claim_time = null where x.id = w.id returning * into w;
      perform emit_workspace('WORKSPACE_PARKED', w, v_previous, 'left half done');
      continue;
    end if;
    update workspaces x
       set state = 'CLEANING', fence = x.fence + 1, worker = p_server, claim_time = clock_timestamp(), attempts = x.attempts + 1,
           removing = x.removing or r.removing,
           old_paths = case when x.path = any (x.old_paths) then x.old_paths else x.path || x.old_paths end,
           path = case when x.removing or r.removing or x.verifying then x.path
                       else new_path(p_root, r.name, x.id, x.fence + 1, r.stable_path) end
     where x.id = w.id returning * into w;
    if v_previous = 'PREPARING' then
      perform emit_workspace('WORKSPACE_CLAIMED', w, v_previous, 'left half done');
    end if;
    workspace := w.id; fence := w.fence; repository_id := w.repository_id;
    kind := case when w.removing then 'remove' when w.verifying then 'verify' else 'clean' end;
    path := w.path; candidates := w.path || array_remove(w.old_paths, w.path); from_commit := w.commit_id; from_head := w.head;
    lease_time := (last_lease(w.id)).acquire_time; guard_work := w.guard_work; attempt := w.attempts;
    return next;
  end loop;
end $$;

drop function activate_ticket(bigint, bigint, bigint, bigint, text, text, bigint, text, timestamptz, jsonb);
drop view grant_rows;
create or replace view lease_rows as
  select l.workspace_id as lease_workspace, l.fence as lease_fence, r.name as lease_repository, h.name as lease_host,
         l.revision, l.commit_id as lease_commit, l.holder, l.caller, l.labels, l.source, l.fetch_time as lease_fetch_time, l.timings,
         (extract(epoch from l.ttl) * 1000)::float8 as ttl_ms,
         case when l.end_time is not null then 0
              else greatest(extract(epoch from l.expire_time - clock_timestamp()) * 1000, 0) end::float8 as remaining_ms,
         l.acquire_time, l.expire_time, l.end_time, l.end_reason, l.binding as lease_binding, l.resolved_commit, l.lost_salvage
    from leases l
    join workspaces w on w.id = l.workspace_id
    join repositories r on r.id = w.repository_id
    join hosts h on h.id = w.host_id;

-- idle_time: since when nobody has it
create or replace view workspace_rows as
  select w.id, r.name as repository, h.name as host, w.path, w.state, w.version, w.fence, w.commit_id, w.head, w.problem,
         w.create_time, coalesce(w.idle_time, w.park_time) as idle_time, w.verify_time, w.binding, w.bound_caller
    from workspaces w
    join repositories r on r.id = w.repository_id
    join hosts h on h.id = w.host_id;

create view grant_rows as
  select w.id, l.lease_repository as repository, l.lease_host as host, w.path, w.state, w.version, w.fence, w.commit_id, w.head,
         w.problem, w.create_time, w.idle_time, w.verify_time, w.binding, l.*
    from lease_rows l join workspaces w on w.id = l.lease_workspace;

-- CREATED: the owner has made it and compared it just now. BOUND: its files, and where they stand, are as they were parked.
create function activate_ticket(p_server bigint, p_ticket bigint, p_workspace bigint, p_fence bigint, p_commit text, p_head text,
                                           p_refs_version bigint, p_source text, p_fetch_time timestamptz, p_timings jsonb)
returns setof grant_rows
language plpgsql as $$
declare
  t tickets;
  w workspaces;
  l leases;
  v_ttl interval;
  v_binding text;
  v_lost text := '';
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
  v_binding := coalesce(t.spec ->> 'binding', '');
  if v_binding <> '' and p_source <> 'BOUND' then
    v_lost := lost_salvage((select r.name from repositories r where r.id = w.repository_id), t.caller, v_binding);
  end if;
  v_ttl := make_interval(secs => (t.spec ->> 'ttlMs')::float8 / 1000);
  update workspaces x set state = 'LEASED', worker = null, claim_time = null, attempts = 0, problem = '', guard_work = true,
         commit_id = case when p_source = 'BOUND' then x.commit_id else p_commit end,
         head = case when p_source = 'BOUND' then x.head else p_head end,
         refs_version = case when p_source = 'BOUND' then x.refs_version else p_refs_version end,
         verify_time = case when p_source = 'CREATED' then clock_timestamp() else x.verify_time end
   where x.id = p_workspace and x.fence = p_fence returning * into w;
  insert into leases (workspace_id, fence, ticket_id, caller, holder, revision, commit_id, labels, source, fetch_time, timings, ttl, expire_time,
                      binding, resolved_commit, lost_salvage)
  values (p_workspace, p_fence, t.id, t.caller, t.spec ->> 'holder', t.spec ->> 'revision', w.commit_id, t.spec -> 'labels', p_source,
          p_fetch_time, p_timings, v_ttl, clock_timestamp() + v_ttl, v_binding, p_commit, v_lost) returning * into l;
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
