-- Owns that only what was proven pristine is handed out, and the settings that came with it.
-- 1. verify_time is when a workspace was last proven, after its last holder; it goes when a workspace is given to cleaning.
-- 2. Nothing becomes IDLE or LEASED without it: a constraint and the trigger see to it, whatever the code does.

alter table workspaces add column verify_time timestamptz;
-- CLEANING because an operator wants it looked at: the files stay where they are
alter table workspaces add column verifying bool not null default false;
-- what that found: {"fence", "findings", "files"}; null from when it was asked for until it is known
alter table workspaces add column verification jsonb;

alter table repositories add column object_storage text not null default 'AUTO'
  constraint object_storage_is_known check (object_storage in ('AUTO', 'COPY', 'LINK'));
alter table repositories add column kill_stragglers bool not null default false;
alter table repositories add column salvage_ignored jsonb not null default '[]';
alter table repositories add column share_dependencies bool not null default false;

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
    if new.state = 'LEASED' and new.verify_time is null then
      raise exception 'workspace % was not verified', old.id using constraint = 'leased_workspaces_are_verified';
    end if;
  end if;
  return new;
end $$;

-- what is idle has never been verified: it is cleaned once more
do $$
declare
  w workspaces;
begin
  for w in update workspaces x set state = 'CLEANING', fence = x.fence + 1, idle_time = null, attempts = 0, retry_time = null
            where x.state = 'IDLE' returning *
  loop
    perform emit_workspace('WORKSPACE_CLAIMED', w, 'IDLE', 'to be verified');
  end loop;
end $$;
alter table workspaces add constraint idle_workspaces_are_verified check (state <> 'IDLE' or verify_time is not null);

create or replace view workspace_rows as
  select w.id, r.name as repository, h.name as host, w.path, w.state, w.version, w.fence, w.commit_id, w.head, w.problem,
         w.create_time, w.idle_time, w.verify_time
    from workspaces w
    join repositories r on r.id = w.repository_id
    join hosts h on h.id = w.host_id;

create or replace view grant_rows as
  select w.id, l.lease_repository as repository, l.lease_host as host, w.path, w.state, w.version, w.fence, w.commit_id, w.head,
         w.problem, w.create_time, w.idle_time, l.*, w.verify_time
    from lease_rows l join workspaces w on w.id = l.lease_workspace;

-- CREATED: the owner has made it and compared it just now
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
         refs_version = p_refs_version, attempts = 0, problem = '', guard_work = true,
         verify_time = case when p_source = 'CREATED' then clock_timestamp() else x.verify_time end
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

drop function claim_work(bigint, int, bigint[], text, int);
create function claim_work(p_server bigint, p_host int, p_known bigint[], p_root text, p_limit int)
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

-- outcome: begun (or going on), leased, busy, quarantined, unknown. begun: a result of this fence or a later one is of this request.
create function begin_verification(p_workspace bigint, out outcome text, out begun bigint) language plpgsql as $$
declare
  w workspaces;
begin
  perform lock_workspace(p_workspace);
  select * into w from workspaces x where x.id = p_workspace for update;
  begun := w.fence;
  if w.id is null or w.state = 'RETIRED' then outcome := 'unknown';
  elsif w.state = 'LEASED' then outcome := 'leased';
  elsif w.state = 'QUARANTINED' then outcome := 'quarantined';
  elsif w.state = 'IDLE' then
    update workspaces x set state = 'CLEANING', fence = x.fence + 1, idle_time = null, attempts = 0, retry_time = null, removing = false,
           verifying = true, verification = null
     where x.id = w.id and x.fence = w.fence returning * into w;
    perform emit_workspace('WORKSPACE_CLAIMED', w, 'IDLE', 'to be verified');
    outcome := 'begun'; begun := w.fence;
  -- claimed already, it may have begun to look before this call
  elsif w.verifying and w.worker is null then outcome := 'begun';
  else outcome := 'busy';
  end if;
end $$;

-- nothing until the verification that was begun at the fence is known; outcome lost: something else came in between
create function read_verification(p_workspace bigint, p_begun bigint, out outcome text, out result jsonb) language plpgsql stable as $$
declare
  w workspaces;
begin
  select * into w from workspaces x where x.id = p_workspace;
  if (w.verification ->> 'fence')::bigint >= p_begun then outcome := 'known'; result := w.verification;
  elsif w.verifying and w.state = 'CLEANING' and not w.removing then outcome := 'pending';
  else outcome := 'lost';
  end if;
end $$;

create function report_stragglers(p_server bigint, p_workspace bigint, p_fence bigint, p_detail text) returns void language sql as $$
  insert into outbox (kind, repository, host, workspace_id, version, lease_fence, fence, holder, caller, labels, reason, previous_state, state,
                      detail)
  select 'STRAGGLERS_FOUND', r.name, h.name, w.id, w.version, l.fence, coalesce(l.fence, w.fence), coalesce(l.holder, ''),
         coalesce(l.caller, ''), coalesce(l.labels, '{}'), l.end_reason, w.state, w.state, p_detail
    from workspaces w
    join repositories r on r.id = w.repository_id
    join hosts h on h.id = w.host_id
    left join lateral (select * from leases x where x.workspace_id = w.id order by x.fence desc limit 1) l on true
   where w.id = p_workspace and w.fence = p_fence and w.worker = p_server and w.state = 'CLEANING'
$$;

drop function finish_work(bigint, bigint, bigint, text, text, text, bigint, text, text);
-- false: the claim was lost. p_found: of kind verified, {"findings", "files"}
create function finish_work(p_server bigint, p_workspace bigint, p_fence bigint, p_kind text, p_commit text, p_head text,
                            p_refs_version bigint, p_path text, p_problem text, p_found jsonb) returns bool
language plpgsql as $$
declare
  w workspaces;
  v_previous text;
  v_kind text := p_kind;
  v_pristine bool;
begin
  select * into w from workspaces x where x.id = p_workspace and x.fence = p_fence and x.worker = p_server
     and x.state in ('PREPARING', 'CLEANING') for update;
  if not found then return false; end if;
  v_previous := w.state;
  if v_kind = 'failed' and w.attempts >= 5 then v_kind := 'quarantined'; end if;
  if v_kind = 'verified' then
    v_pristine := p_found -> 'findings' = '[]';
    update workspaces x set verification = p_found || jsonb_build_object('fence', p_fence) where x.id = w.id;
  end if;
  if v_kind = 'verified' and (w.removing or not v_pristine) then
    -- without its commit nothing of it is used: the next claim makes it anew
    update workspaces x set worker = null, claim_time = null, verifying = false, attempts = 0, commit_id = '',
           problem = case when v_pristine then '' else 'verification: ' || (p_found -> 'findings' ->> 0) end
     where x.id = w.id;
  elsif v_kind = 'idle' and w.removing then
    -- Reclaim came while it was being cleaned: the next claim removes it
    update workspaces x set state = 'CLEANING', worker = null, claim_time = null, guard_work = false, commit_id = p_commit where x.id = w.id;
  elsif v_kind in ('idle', 'verified') then
    update workspaces x set state = 'IDLE', worker = null, claim_time = null, attempts = 0, retry_time = null, removing = false,
           guard_work = false, old_paths = '{}', problem = '', idle_time = clock_timestamp(), verify_time = clock_timestamp(),
           commit_id = case when v_kind = 'idle' then p_commit else x.commit_id end,
           head = case when v_kind = 'idle' then p_head else x.head end,
           refs_version = case when v_kind = 'idle' then p_refs_version else x.refs_version end
     where x.id = w.id returning * into w;
    perform emit_workspace('WORKSPACE_READY', w, v_previous, '');
  elsif v_kind = 'retired' then
    update workspaces x set state = 'RETIRED', worker = null, claim_time = null, old_paths = '{}' where x.id = w.id returning * into w;
    perform emit_workspace('WORKSPACE_RETIRED', w, v_previous, '');
  elsif v_kind = 'quarantined' then
    update workspaces x set state = 'QUARANTINED', worker = null, claim_time = null, attempts = 0, retry_time = null, removing = false,
           path = coalesce(nullif(p_path, ''), x.path), problem = p_problem
     where x.id = w.id returning * into w;
    perform emit_workspace('WORKSPACE_QUARANTINED', w, v_previous, p_problem);
  else
    update workspaces x set state = 'CLEANING', worker = null, claim_time = null, problem = p_problem,
           retry_time = clock_timestamp() + make_interval(secs => least(power(2, least(x.attempts, 10)), 300))
     where x.id = w.id returning * into w;
    if v_previous = 'PREPARING' then perform emit_workspace('WORKSPACE_CLAIMED', w, v_previous, p_problem); end if;
  end if;
  return true;
end $$;

drop function register_repository(text, text, text, int, int, bool, text, jsonb, bool, bigint, bool);
-- p_settings: by the names of the columns. outcome: registered, same, differs
create function register_repository(p_name text, p_fallback_name text, p_settings jsonb, p_given_name bool, out outcome text, out repository int)
language plpgsql as $$
declare
  s repositories := jsonb_populate_record(null::repositories, p_settings);
  r repositories;
  v_name text := p_name;
begin
  -- one registration at a time: names and URLs are decided together
  perform pg_advisory_xact_lock(70, 3);
  select * into r from repositories x where x.url = s.url;
  if not found and p_given_name then
    select * into r from repositories x where x.name = p_name;
  end if;
  if r.id is not null then
    repository := r.id;
    outcome := case when not r.removing and (not p_given_name or r.name = p_name) and to_jsonb(r) @> p_settings
                     and r.labels = s.labels and r.salvage_ignored = s.salvage_ignored then 'same' else 'differs' end;
    return;
  end if;
  if exists (select from repositories x where x.name = v_name) then v_name := p_fallback_name; end if;
  insert into repositories (name, url, min_idle, max_workspaces, stable_path, credential, labels, paused, salvage_ttl_ms, object_storage,
                            kill_stragglers, salvage_ignored, share_dependencies)
  values (v_name, s.url, s.min_idle, s.max_workspaces, s.stable_path, s.credential, s.labels, s.paused, s.salvage_ttl_ms, s.object_storage,
          s.kill_stragglers, s.salvage_ignored, s.share_dependencies) returning * into r;
  perform emit_repository('REPOSITORY_REGISTERED', r.name, '', r.url);
  repository := r.id;
  outcome := 'registered';
end $$;
