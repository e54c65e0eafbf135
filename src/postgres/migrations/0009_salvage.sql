-- Owns salvages, and the law that a holder's work is salvaged before anything destroys it.
-- 1. A workspace has guard_work from the beginning of a lease until its work was salvaged (settle_salvage) or abandoned (Reset).
--    Whatever does file work destroys nothing of one that has it.
-- 2. A salvage is named after the lease that left it, so saving again after a crash is the same salvage.
-- 3. A salvage's row outlives its workspace, its repository and its host: it refers to none of them.
-- 4. A salvage that an open ticket is to restore neither expires nor loses its files.

create table salvages (
  id text primary key,
  workspace_id bigint not null,
  -- of the lease that left it; 0 if that lease was forgotten
  fence bigint not null,
  repository text not null,
  host_id int not null,
  host text not null,
  holder text not null,
  caller text not null,
  labels jsonb not null,
  reason text,
  -- what the lease was given: where restoring begins
  base_commit text not null,
  repository_path text not null,
  ref text not null,
  commit_id text not null,
  files bigint not null,
  commits bigint not null,
  bytes bigint not null,
  incomplete jsonb not null,
  create_time timestamptz not null default clock_timestamp(),
  expire_time timestamptz not null,
  -- decided and told of; the host's owner removes the files and then the row
  removal text constraint salvage_removal_is_known check (removal in ('DISCARDED', 'EXPIRED')),
  constraint a_salvage_is_named_after_its_lease check (id = 's' || workspace_id::text || '.' || fence::text)
);
create unique index salvages_in_order on salvages (workspace_id, fence);
create index salvages_by_host on salvages (host_id, expire_time);

alter table repositories add column salvage_ttl_ms bigint not null default 1209600000
  constraint salvages_are_kept_for_a_while check (salvage_ttl_ms > 0);
alter table outbox add column salvage_id text not null default '';
alter table events add column salvage_id text not null default '';

update workspaces w set guard_work = true
 where w.state = 'LEASED'
    or (w.state in ('CLEANING', 'QUARANTINED') and exists (select from leases l where l.workspace_id = w.id));

-- no transition of its workspace: version and state are as they were; the lock keeps the order of that workspace's events
create function emit_salvage(p_kind text, p_salvage salvages, p_detail text) returns void language plpgsql as $$
declare
  w workspaces;
begin
  select * into w from workspaces x where x.id = p_salvage.workspace_id for share;
  insert into outbox (kind, repository, host, workspace_id, version, lease_fence, fence, holder, caller, labels, reason,
                      previous_state, state, salvage_id, detail)
  values (p_kind, p_salvage.repository, p_salvage.host, p_salvage.workspace_id, coalesce(w.version, 0), nullif(p_salvage.fence, 0),
          p_salvage.fence, p_salvage.holder, p_salvage.caller, p_salvage.labels, p_salvage.reason, w.state, w.state,
          p_salvage.id, p_detail);
end $$;

-- the newest lease of a workspace: the one whose work it holds while it has guard_work
create function last_lease(p_workspace bigint) returns leases language sql stable as $$
  select l from leases l where l.workspace_id = p_workspace order by l.fence desc limit 1
$$;

create function is_awaited(p_salvage text) returns bool language sql stable as $$
  select exists (select from tickets t where t.state in ('OPEN', 'WAITING', 'GRANTED') and t.spec #>> '{restore,salvageId}' = p_salvage)
$$;

-- The work of a claimed workspace was salvaged as p_saved, or there is none (null): it may be destroyed. False: the claim was lost.
create function settle_salvage(p_server bigint, p_workspace bigint, p_fence bigint, p_saved jsonb) returns bool language plpgsql as $$
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
                        repository_path, ref, commit_id, files, commits, bytes, incomplete, expire_time)
  select 's' || w.id || '.' || coalesce(l.fence, 0), w.id, coalesce(l.fence, 0), r.name, h.id, h.name, coalesce(l.holder, ''),
         coalesce(l.caller, ''), coalesce(l.labels, '{}'), l.end_reason, coalesce(l.commit_id, w.commit_id),
         p_saved ->> 'repositoryPath', p_saved ->> 'ref', p_saved ->> 'commit', (p_saved ->> 'files')::bigint,
         (p_saved ->> 'commits')::bigint, (p_saved ->> 'bytes')::bigint, p_saved -> 'incomplete',
         clock_timestamp() + make_interval(secs => r.salvage_ttl_ms / 1000.0)
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

create function discard_salvage(p_id text) returns bool language plpgsql as $$
declare
  s salvages;
begin
  update salvages x set removal = 'DISCARDED' where x.id = p_id and x.removal is null returning * into s;
  if not found then return false; end if;
  perform emit_salvage('SALVAGE_DISCARDED', s, '');
  return true;
end $$;

-- Asked by a host's owner. What is on a removed host cannot be reached by anybody: only its rows go.
create function expire_salvages(p_server bigint, p_host int, p_limit int) returns int language plpgsql as $$
declare
  s salvages;
  n int := 0;
begin
  if not exists (select from hosts h where h.id = p_host and h.server_id = p_server) then return 0; end if;
  for s in select x.* from salvages x join hosts h on h.id = x.host_id
            where x.removal is null and x.expire_time < clock_timestamp() and (h.id = p_host or h.removed) and not is_awaited(x.id)
            order by x.expire_time limit p_limit for update of x skip locked
  loop
    update salvages x set removal = 'EXPIRED' where x.id = s.id;
    perform emit_salvage('SALVAGE_EXPIRED', s, '');
    n := n + 1;
  end loop;
  delete from salvages x using hosts h where h.id = x.host_id and h.removed and x.removal is not null;
  return n;
end $$;

create or replace function publish_events(p_limit int, out oldest bigint, out newest bigint, out published bigint) language plpgsql as $$
begin
  perform pg_advisory_xact_lock(70, 1);
  select m.oldest_revision, m.newest_revision into oldest, newest from meta m;
  with taken as (
    delete from outbox where id in (select id from outbox order by id limit p_limit) returning *
  ), numbered as (
    insert into events (revision, kind, repository, host, workspace_id, version, lease_fence, fence, holder, caller,
                        labels, reason, previous_state, state, detail, event_time, salvage_id)
    select newest + row_number() over (order by t.id), t.kind, t.repository, t.host, t.workspace_id, t.version, t.lease_fence, t.fence,
           t.holder, t.caller, t.labels, t.reason, t.previous_state, t.state, t.detail, t.event_time, t.salvage_id
      from taken t returning 1
  )
  select count(*) into published from numbered;
  if published > 0 then
    update meta set newest_revision = newest + published returning newest_revision into newest;
  end if;
end $$;

create view salvage_rows as
  select s.*, case when s.fence = 0 then '' else 'w' || s.workspace_id || '.' || s.fence end as lease_id
    from salvages s where s.removal is null;
