-- Owns sessions, their agents, and what a lease's end does to them.
-- 1. One open session per (caller, repository, binding), and per lease.
-- 2. A session is ACTIVE exactly while its lease lives: end_lease suspends it, and stops its agents, in the same statement.
-- 3. RUNNING and IDLE agents have a backend session id; an id and where it is bound to come and go together.
-- 4. A backend session id is one agent's of one session, as long as that session is open.

create table sessions (
  id bigint generated always as identity primary key,
  -- sessions outlive their repository as closed rows
  repository text not null,
  caller text not null,
  binding text not null,
  subject jsonb,
  subject_state text not null default 'UNKNOWN' constraint subject_state_is_known check (subject_state in ('UNKNOWN', 'OPEN', 'CLOSED', 'MERGED')),
  subject_check_time timestamptz,
  state text not null constraint session_state_is_known check (state in ('ACTIVE', 'SUSPENDED', 'CLOSED')),
  close_reason text constraint close_reason_is_known check (close_reason in ('REQUESTED', 'SUBJECT_CLOSED', 'MAX_AGE', 'RESET')),
  workspace_id bigint not null,
  fence bigint not null,
  host text not null,
  path text not null,
  labels jsonb not null,
  version bigint not null default 1,
  sequence bigint not null default 0,
  create_time timestamptz not null default clock_timestamp(),
  active_time timestamptz not null default clock_timestamp(),
  close_time timestamptz,
  constraint a_closed_session_says_when_and_why check ((state = 'CLOSED') = (close_reason is not null) and (state = 'CLOSED') = (close_time is not null))
);
create unique index one_open_session_per_binding on sessions (repository, caller, binding) where state <> 'CLOSED' and binding <> '';
create unique index one_open_session_per_lease on sessions (workspace_id, fence) where state <> 'CLOSED';
create index sessions_by_activity on sessions (active_time) where state <> 'CLOSED';

create table session_agents (
  session_id bigint not null references sessions on delete cascade,
  agent text not null,
  backend text not null constraint backend_is_a_name check (backend ~ '^[a-z][a-z0-9_-]{0,62}$'),
  backend_session_id text not null default '' constraint backend_session_id_is_short check (length(backend_session_id) <= 512),
  backend_changed bool not null default false,
  bound_host text not null default '',
  bound_path text not null default '',
  bound_workspace_id bigint,
  -- of the workspace when it was bound: another one since means that the files were made anew
  bound_verify_time timestamptz,
  state text not null default 'STARTING' constraint agent_state_is_known check (state in ('STARTING', 'RUNNING', 'IDLE', 'FAILED', 'STOPPED')),
  problem text not null default '',
  author jsonb,
  open bool not null default true,
  version bigint not null default 1,
  create_time timestamptz not null default clock_timestamp(),
  update_time timestamptz not null default clock_timestamp(),
  primary key (session_id, agent),
  constraint working_agents_have_a_backend_session check (state not in ('RUNNING', 'IDLE') or backend_session_id <> ''),
  constraint id_and_path_are_both_or_neither
    check ((backend_session_id = '') = (bound_path = '') and (bound_path = '') = (bound_host = '') and (bound_path = '') = (bound_workspace_id is null)),
  constraint only_failed_agents_have_a_problem check (problem = '' or state = 'FAILED'),
  constraint agents_of_closed_sessions_have_no_id check (open or (backend_session_id = '' and state in ('FAILED', 'STOPPED')))
);
create unique index backend_sessions_are_one_agents on session_agents (backend, backend_session_id) where backend_session_id <> '';

create table agent_transitions (previous text not null, next text not null, primary key (previous, next));
insert into agent_transitions (previous, next) values
  ('STARTING', 'RUNNING'), ('STARTING', 'FAILED'), ('STARTING', 'STOPPED'), ('RUNNING', 'IDLE'), ('IDLE', 'RUNNING'),
  ('RUNNING', 'FAILED'), ('RUNNING', 'STOPPED'), ('IDLE', 'FAILED'), ('IDLE', 'STOPPED'), ('FAILED', 'STARTING'), ('STOPPED', 'STARTING');

create function guard_agent() returns trigger language plpgsql as $$
begin
  if new.state <> old.state and not exists (select from agent_transitions t where t.previous = old.state and t.next = new.state) then
    raise exception 'agent % cannot go from % to %', old.agent, old.state, new.state using constraint = 'agent_transition_is_legal';
  end if;
  new.version := old.version + 1;
  new.update_time := clock_timestamp();
  return new;
end $$;
create trigger guard_agent before update on session_agents for each row execute function guard_agent();

alter table outbox add column session_id bigint;
alter table outbox add column agent text not null default '';
alter table events add column session_id bigint;
alter table events add column agent text not null default '';

create or replace function publish_events(p_limit int, out oldest bigint, out newest bigint, out published bigint) language plpgsql as $$
begin
  perform pg_advisory_xact_lock(70, 1);
  select m.oldest_revision, m.newest_revision into oldest, newest from meta m;
  with taken as (
    delete from outbox where id in (select id from outbox order by id limit p_limit) returning *
  ), numbered as (
    insert into events (revision, kind, repository, host, workspace_id, version, lease_fence, fence, holder, caller, labels, reason,
                        previous_state, state, detail, event_time, salvage_id, binding, session_id, agent)
    select newest + row_number() over (order by t.id), t.kind, t.repository, t.host, t.workspace_id, t.version, t.lease_fence, t.fence,
           t.holder, t.caller, t.labels, t.reason, t.previous_state, t.state, t.detail, t.event_time, t.salvage_id, t.binding, t.session_id,
           t.agent
      from taken t returning 1
  )
  select count(*) into published from numbered;
  if published > 0 then
    update meta set newest_revision = newest + published returning newest_revision into newest;
  end if;
end $$;

-- no transition of its workspace: version and state are as they are
create function emit_session(p_kind text, p_session sessions, p_agent text, p_detail text) returns void language sql as $$
  insert into outbox (kind, repository, host, workspace_id, version, lease_fence, fence, holder, caller, labels, previous_state, state, detail,
                      binding, session_id, agent)
  select p_kind, p_session.repository, p_session.host, w.id, coalesce(w.version, 0), l.fence, p_session.fence, coalesce(l.holder, ''),
         p_session.caller, p_session.labels, w.state, w.state, p_detail, p_session.binding, p_session.id, p_agent
    from (select 1) one
    left join workspaces w on w.id = p_session.workspace_id
    left join leases l on l.workspace_id = p_session.workspace_id and l.fence = p_session.fence
$$;

create function suspend_sessions(p_workspace bigint, p_fence bigint) returns void language plpgsql as $$
declare
  s sessions;
begin
  for s in select * from sessions x where x.workspace_id = p_workspace and x.fence = p_fence and x.state = 'ACTIVE' for update
  loop
    update session_agents a set state = 'STOPPED', problem = '' where a.session_id = s.id and a.state in ('STARTING', 'RUNNING', 'IDLE');
    update sessions x set state = 'SUSPENDED', version = x.version + 1, active_time = clock_timestamp() where x.id = s.id returning * into s;
    perform emit_session('SESSION_SUSPENDED', s, '', '');
  end loop;
end $$;

create function close_session(p_session bigint, p_reason text) returns bool language plpgsql as $$
declare
  s sessions;
begin
  select * into s from sessions x where x.id = p_session and x.state <> 'CLOSED' for update;
  if not found then return false; end if;
  update session_agents a
     set state = case when a.state = 'FAILED' then 'FAILED' else 'STOPPED' end, backend_session_id = '', bound_host = '', bound_path = '',
         bound_workspace_id = null, bound_verify_time = null, open = false
   where a.session_id = s.id;
  update sessions x set state = 'CLOSED', close_reason = p_reason, close_time = clock_timestamp(), version = x.version + 1
   where x.id = s.id returning * into s;
  perform emit_session('SESSION_CLOSED', s, '', p_reason);
  return true;
end $$;
