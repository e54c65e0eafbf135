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
