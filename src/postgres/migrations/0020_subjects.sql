-- Owns subjects: the issues and pull requests that leases and sessions are about, and what their forges said of them.
-- 1. What a forge said is kept once for each subject, not for each session: one sighting counts for all of them.
-- 2. A closing counts from its first sighting on. OPEN takes it back; UNKNOWN is nothing that was said, and is never stored.

alter table leases add column subject jsonb;
create index sessions_by_subject on sessions ((subject ->> 'url')) where subject is not null;

alter table leases drop constraint end_reason_is_known;
alter table leases add constraint end_reason_is_known
  check (end_reason in ('RELEASED', 'PARKED', 'EXPIRED', 'RECLAIMED', 'RESET', 'FORGE_CLOSED', 'FAILED'));

create table subjects (
  url text primary key,
  state text not null constraint a_subject_is_what_a_forge_said check (state in ('OPEN', 'CLOSED', 'MERGED')),
  -- when the forge last said so
  check_time timestamptz not null,
  -- when it was first seen closed, without having been open since
  close_time timestamptz,
  -- told by its forge: it is to be asked whether it still is closed when the grace is over, before the next sweep is
  recheck bool not null default false,
  -- when that was tried last
  ask_time timestamptz,
  constraint only_closed_subjects_have_a_close_time check ((state = 'OPEN') = (close_time is null)),
  constraint only_closed_subjects_are_asked_again check (not recheck or close_time is not null),
  constraint sightings_are_in_order check (close_time <= check_time)
);
create index subjects_to_ask_again on subjects (close_time) where recheck;

-- of its newest lease, which may be forgotten before a parked workspace is
alter table workspaces add column subject jsonb;
create index workspaces_by_subject on workspaces ((subject ->> 'url')) where subject is not null and state in ('LEASED', 'PARKED');

create function give_subject() returns trigger language plpgsql as $$
begin
  new.subject := (select t.spec -> 'subject' from tickets t where t.id = new.ticket_id);
  update workspaces w set subject = new.subject where w.id = new.workspace_id and w.subject is distinct from new.subject;
  return new;
end $$;
create trigger give_subject before insert on leases for each row execute function give_subject();

alter table outbox add column subject text not null default '';
alter table events add column subject text not null default '';

create or replace function emit_lease(p_kind text, p_workspace workspaces, p_previous text, p_lease leases) returns void language sql as $$
  insert into outbox (kind, repository, host, workspace_id, version, lease_fence, fence, holder, caller, labels, reason, previous_state, state,
                      binding, subject)
  select p_kind, r.name, h.name, p_workspace.id, p_workspace.version, p_lease.fence, p_lease.fence, p_lease.holder, p_lease.caller,
         p_lease.labels, p_lease.end_reason, p_previous, p_workspace.state, p_lease.binding, coalesce(p_lease.subject ->> 'url', '')
    from repositories r, hosts h where r.id = p_workspace.repository_id and h.id = p_workspace.host_id
$$;

create or replace function emit_session(p_kind text, p_session sessions, p_agent text, p_detail text) returns void language sql as $$
  insert into outbox (kind, repository, host, workspace_id, version, lease_fence, fence, holder, caller, labels, previous_state, state, detail,
                      binding, session_id, agent, subject)
  select p_kind, p_session.repository, p_session.host, w.id, coalesce(w.version, 0), l.fence, p_session.fence, coalesce(l.holder, ''),
         p_session.caller, p_session.labels, w.state, w.state, p_detail, p_session.binding, p_session.id, p_agent,
         coalesce(p_session.subject ->> 'url', '')
    from (select 1) one
    left join workspaces w on w.id = p_session.workspace_id
    left join leases l on l.workspace_id = p_session.workspace_id and l.fence = p_session.fence
$$;

create or replace function publish_events(p_limit int, out oldest bigint, out newest bigint, out published bigint) language plpgsql as $$
begin
  perform pg_advisory_xact_lock(70, 1);
  select m.oldest_revision, m.newest_revision into oldest, newest from meta m;
  with taken as (
    delete from outbox where id in (select id from outbox order by id limit p_limit) returning *
  ), numbered as (
    insert into events (revision, kind, repository, host, workspace_id, version, lease_fence, fence, holder, caller, labels, reason,
                        previous_state, state, detail, event_time, salvage_id, binding, session_id, agent, subject)
    select newest + row_number() over (order by t.id), t.kind, t.repository, t.host, t.workspace_id, t.version, t.lease_fence, t.fence,
           t.holder, t.caller, t.labels, t.reason, t.previous_state, t.state, t.detail, t.event_time, t.salvage_id, t.binding, t.session_id,
           t.agent, t.subject
      from taken t returning 1
  )
  select count(*) into published from numbered;
  if published > 0 then
    update meta set newest_revision = newest + published returning newest_revision into newest;
  end if;
end $$;

create or replace view lease_rows as
  select l.workspace_id as lease_workspace, l.fence as lease_fence, r.name as lease_repository, h.name as lease_host,
         l.revision, l.commit_id as lease_commit, l.holder, l.caller, l.labels, l.source, l.fetch_time as lease_fetch_time, l.timings,
         (extract(epoch from l.ttl) * 1000)::float8 as ttl_ms,
         case when l.end_time is not null then 0
              else greatest(extract(epoch from l.expire_time - clock_timestamp()) * 1000, 0) end::float8 as remaining_ms,
         l.acquire_time, l.expire_time, l.end_time, l.end_reason, l.binding as lease_binding, l.resolved_commit, l.lost_salvage,
         l.subject as lease_subject
    from leases l
    join workspaces w on w.id = l.workspace_id
    join repositories r on r.id = w.repository_id
    join hosts h on h.id = w.host_id;

create or replace view grant_rows as
  select w.id, l.lease_repository as repository, l.lease_host as host, w.path, w.state, w.version, w.fence, w.commit_id, w.head,
         w.problem, w.create_time, w.idle_time, w.verify_time, w.binding, l.*
    from lease_rows l join workspaces w on w.id = l.lease_workspace;

-- what was said of a session's subject is read where it is kept
drop view session_rows;
alter table sessions drop column subject_state;
alter table sessions drop column subject_check_time;
create view session_rows as
  select s.*, coalesce(u.state, 'UNKNOWN') as subject_state, u.check_time as subject_check_time,
         coalesce((select x.id from salvages x where x.workspace_id = s.workspace_id and x.fence = s.fence and x.removal is null), '') as salvage_id,
         coalesce((select jsonb_agg(jsonb_build_object(
                     'agent', a.agent, 'backend', a.backend, 'backend_session_id', a.backend_session_id, 'bound_host', a.bound_host,
                     'bound_path', a.bound_path, 'bound_workspace_id', a.bound_workspace_id, 'state', a.state, 'problem', a.problem,
                     'author', a.author, 'version', a.version, 'create_time', a.create_time, 'update_time', a.update_time,
                     'blocker', case when a.backend_session_id = '' and a.backend_changed then 'BACKEND_CHANGED'
                                     when a.backend_session_id = '' then 'NEVER_STARTED'
                                     when s.state <> 'ACTIVE' then 'NO_LEASE'
                                     when a.bound_host <> s.host then 'HOST_CHANGED'
                                     when a.bound_path <> s.path then 'PATH_CHANGED'
                                     when a.bound_verify_time is distinct from w.verify_time then 'FILES_RESET' end)
                   order by a.agent)
                     from session_agents a left join workspaces w on w.id = s.workspace_id where a.session_id = s.id), '[]') as agents
    from sessions s
    left join subjects u on u.url = s.subject ->> 'url';

-- outcome: opened, reopened, lost (the lease does not live), mismatch (another subject). Without a subject the lease's is meant.
create or replace function open_session(p_workspace bigint, p_fence bigint, p_subject jsonb, p_labels jsonb, out outcome text, out session bigint)
language plpgsql as $$
declare
  l leases;
  s sessions;
  v_subject jsonb;
  v_repository text;
  v_host text;
  v_path text;
begin
  select * into l from leases x where x.workspace_id = p_workspace and x.fence = p_fence and x.end_time is null for update;
  if not found then outcome := 'lost'; return; end if;
  v_subject := coalesce(p_subject, l.subject);
  select r.name, h.name, w.path into v_repository, v_host, v_path from workspaces w
    join repositories r on r.id = w.repository_id join hosts h on h.id = w.host_id where w.id = p_workspace;
  select * into s from sessions x where x.state <> 'CLOSED' and x.repository = v_repository and x.caller = l.caller
     and (x.binding = l.binding and l.binding <> '' or x.workspace_id = p_workspace and x.fence = p_fence) for update;
  if found then
    session := s.id;
    if v_subject is not null and s.subject is not null and s.subject ->> 'url' <> v_subject ->> 'url' then outcome := 'mismatch'; return; end if;
    outcome := 'reopened';
    if s.state = 'ACTIVE' and s.workspace_id = p_workspace and s.fence = p_fence and s.labels = p_labels
       and (v_subject is null or s.subject is not null) then
      return;
    end if;
    update sessions x set state = 'ACTIVE', workspace_id = p_workspace, fence = p_fence, host = v_host, path = v_path, labels = p_labels,
           subject = coalesce(x.subject, v_subject), version = x.version + 1, active_time = clock_timestamp()
     where x.id = s.id returning * into s;
  else
    insert into sessions (repository, caller, binding, subject, state, workspace_id, fence, host, path, labels)
    values (v_repository, l.caller, l.binding, v_subject, 'ACTIVE', p_workspace, p_fence, v_host, v_path, p_labels) returning * into s;
    session := s.id;
    outcome := 'opened';
  end if;
  perform emit_session('SESSION_OPENED', s, '', case outcome when 'reopened' then 'reopened' else '' end);
end $$;

-- whether an open session, a lease, or what is parked is about it
create function is_about(p_url text) returns bool language sql stable as $$
  select exists (select from sessions s where s.subject ->> 'url' = p_url and s.subject is not null and s.state <> 'CLOSED')
      or exists (select from workspaces w where w.subject ->> 'url' = p_url and w.subject is not null and w.state in ('LEASED', 'PARKED'))
$$;

-- open; seen (closed, but not for long enough); confirmed (seen closed twice, at least p_grace apart); nobody (nothing is about it)
create function note_subject(p_url text, p_state text, p_grace interval, p_recheck bool) returns text language plpgsql as $$
declare
  u subjects;
  v_now timestamptz := clock_timestamp();
begin
  if not is_about(p_url) then return 'nobody'; end if;
  insert into subjects as x (url, state, check_time, close_time, recheck)
  values (p_url, p_state, v_now, case when p_state <> 'OPEN' then v_now end, p_recheck and p_state <> 'OPEN')
      on conflict (url) do update
     set state = excluded.state, ask_time = null, recheck = excluded.state <> 'OPEN' and (x.recheck or p_recheck), check_time = greatest(x.check_time, v_now),
         close_time = case when excluded.state <> 'OPEN' then coalesce(x.close_time, greatest(x.check_time, v_now)) end
  returning * into u;
  return case when u.state = 'OPEN' then 'open' when u.check_time - u.close_time >= p_grace then 'confirmed' else 'seen' end;
end $$;

-- Subjects of open sessions that their forge said were closed, and whose grace is over: one server asks each of them again.
create function claim_rechecks(p_grace interval, p_limit int) returns setof jsonb language plpgsql as $$
declare
  u subjects;
  v_subject jsonb;
begin
  for u in select * from subjects x where x.recheck and x.close_time is not null
              and not exists (select from sweeps w where w.end_time is null and not w.dry_run and w.seen_time > clock_timestamp() - interval '10 seconds')
              -- what gave no clear answer is left to the next sweep, and to a patient second try
              and (x.ask_time is null or x.ask_time < clock_timestamp() - interval '5 minutes')
              and exists (select from sessions s where s.subject ->> 'url' = x.url and s.subject is not null and s.state <> 'CLOSED'
                             and greatest(x.close_time, s.create_time) + p_grace <= clock_timestamp()
                             and x.check_time - greatest(x.close_time, s.create_time) < p_grace)
            order by x.close_time limit p_limit for update skip locked
  loop
    update subjects x set ask_time = clock_timestamp() where x.url = u.url;
    select s.subject into v_subject from sessions s
     where s.subject ->> 'url' = u.url and s.subject is not null and s.state <> 'CLOSED' limit 1;
    if v_subject is not null then return next v_subject; end if;
  end loop;
end $$;
