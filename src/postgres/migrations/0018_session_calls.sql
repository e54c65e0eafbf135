-- Owns what SessionService does to sessions. Every change needs the live lease, which is locked first:
-- lock order lease, session, agent; end_lease has it too.

create table session_changes (
  session_id bigint not null references sessions on delete cascade,
  sequence bigint not null,
  agent text not null,
  fence bigint not null,
  request_id text not null,
  digest text not null,
  kind text not null constraint change_kind_is_known check (kind in ('ADDED', 'MODIFIED', 'DELETED', 'RENAMED', 'COMMITTED')),
  path text not null,
  previous_path text not null,
  base_commit text not null,
  commit_id text not null,
  patch text not null constraint patches_are_bounded check (octet_length(patch) <= 262144),
  patch_truncated bool not null,
  summary text not null,
  create_time timestamptz not null default clock_timestamp(),
  primary key (session_id, sequence)
);
create index changes_by_request on session_changes (session_id, request_id) where request_id <> '';

-- outcome: opened, reopened, lost (the lease does not live), mismatch (another subject)
create function open_session(p_workspace bigint, p_fence bigint, p_subject jsonb, p_labels jsonb, out outcome text, out session bigint)
language plpgsql as $$
declare
  l leases;
  s sessions;
  v_repository text;
  v_host text;
  v_path text;
begin
  select * into l from leases x where x.workspace_id = p_workspace and x.fence = p_fence and x.end_time is null for update;
  if not found then outcome := 'lost'; return; end if;
  select r.name, h.name, w.path into v_repository, v_host, v_path from workspaces w
    join repositories r on r.id = w.repository_id join hosts h on h.id = w.host_id where w.id = p_workspace;
  select * into s from sessions x where x.state <> 'CLOSED' and x.repository = v_repository and x.caller = l.caller
     and (x.binding = l.binding and l.binding <> '' or x.workspace_id = p_workspace and x.fence = p_fence) for update;
  if found then
    session := s.id;
    if p_subject is not null and s.subject is not null and s.subject ->> 'url' <> p_subject ->> 'url' then outcome := 'mismatch'; return; end if;
    outcome := 'reopened';
    if s.state = 'ACTIVE' and s.workspace_id = p_workspace and s.fence = p_fence and s.labels = p_labels
       and (p_subject is null or s.subject is not null) then
      return;
    end if;
    update sessions x set state = 'ACTIVE', workspace_id = p_workspace, fence = p_fence, host = v_host, path = v_path, labels = p_labels,
           subject = coalesce(x.subject, p_subject), version = x.version + 1, active_time = clock_timestamp()
     where x.id = s.id returning * into s;
  else
    insert into sessions (repository, caller, binding, subject, state, workspace_id, fence, host, path, labels)
    values (v_repository, l.caller, l.binding, p_subject, 'ACTIVE', p_workspace, p_fence, v_host, v_path, p_labels) returning * into s;
    session := s.id;
    outcome := 'opened';
  end if;
  perform emit_session('SESSION_OPENED', s, '', case outcome when 'reopened' then 'reopened' else '' end);
end $$;

-- outcome: ok, unknown, closed, lost (not under the session's live lease)
create function lock_session(p_session bigint, p_caller text, p_workspace bigint, p_fence bigint, out outcome text) language plpgsql as $$
declare
  s sessions;
begin
  perform 1 from leases x where x.workspace_id = p_workspace and x.fence = p_fence and x.end_time is null for share;
  if not found then outcome := 'lost'; end if;
  select * into s from sessions x where x.id = p_session and (p_caller is null or x.caller = p_caller) for update;
  if not found then outcome := 'unknown'; return; end if;
  if s.state = 'CLOSED' then outcome := 'closed'; return; end if;
  if outcome is null then
    outcome := case when s.state = 'ACTIVE' and s.workspace_id = p_workspace and s.fence = p_fence then 'ok' else 'lost' end;
  end if;
end $$;

-- outcome as of lock_session, or: attached, already, backend (another one while it works)
create function attach_agent(p_session bigint, p_caller text, p_workspace bigint, p_fence bigint, p_agent text, p_backend text, p_author jsonb,
                             out outcome text)
language plpgsql as $$
declare
  a session_agents;
  s sessions;
  v_changed bool;
begin
  outcome := (select x.outcome from lock_session(p_session, p_caller, p_workspace, p_fence) x);
  if outcome <> 'ok' then return; end if;
  select * into a from session_agents x where x.session_id = p_session and x.agent = p_agent for update;
  if a.agent is null then
    insert into session_agents (session_id, agent, backend, author) values (p_session, p_agent, p_backend, p_author);
  else
    if a.state not in ('FAILED', 'STOPPED') then
      outcome := case when a.backend = p_backend then 'already' else 'backend' end;
      return;
    end if;
    v_changed := a.backend <> p_backend;
    update session_agents x
       set state = 'STARTING', problem = '', backend = p_backend, author = coalesce(p_author, x.author),
           backend_changed = v_changed or x.backend_changed and x.backend_session_id = '',
           backend_session_id = case when v_changed then '' else x.backend_session_id end,
           bound_host = case when v_changed then '' else x.bound_host end,
           bound_path = case when v_changed then '' else x.bound_path end,
           bound_workspace_id = case when v_changed then null else x.bound_workspace_id end,
           bound_verify_time = case when v_changed then null else x.bound_verify_time end
     where x.session_id = p_session and x.agent = p_agent;
  end if;
  update sessions x set version = x.version + 1, active_time = clock_timestamp() where x.id = p_session returning * into s;
  perform emit_session('AGENT_CHANGED', s, p_agent, 'STARTING');
  outcome := 'attached';
end $$;

-- outcome as of lock_session, or: updated, agent (unknown), version, state (not a legal step, or no id), in-use. null: as it is
create function update_agent(p_session bigint, p_caller text, p_workspace bigint, p_fence bigint, p_agent text, p_version bigint,
                             p_backend_session text, p_state text, p_problem text, out outcome text)
language plpgsql as $$
declare
  a session_agents;
  s sessions;
begin
  outcome := (select x.outcome from lock_session(p_session, p_caller, p_workspace, p_fence) x);
  if outcome <> 'ok' then return; end if;
  select * into a from session_agents x where x.session_id = p_session and x.agent = p_agent for update;
  if not found then outcome := 'agent'; return; end if;
  if p_version <> 0 and p_version <> a.version then outcome := 'version'; return; end if;
  if p_state is not null and p_state <> a.state
     and (p_state = 'STARTING' or not exists (select from agent_transitions t where t.previous = a.state and t.next = p_state)) then
    outcome := 'state';
    return;
  end if;
  if coalesce(p_state, a.state) in ('RUNNING', 'IDLE') and coalesce(p_backend_session, a.backend_session_id) = '' then
    outcome := 'state';
    return;
  end if;
  begin
    update session_agents x
       set state = coalesce(p_state, x.state), problem = case when coalesce(p_state, x.state) = 'FAILED' then p_problem else '' end,
           backend_session_id = coalesce(p_backend_session, x.backend_session_id),
           backend_changed = x.backend_changed and p_backend_session is null,
           bound_host = case when p_backend_session is null then x.bound_host else y.host end,
           bound_path = case when p_backend_session is null then x.bound_path else y.path end,
           bound_workspace_id = case when p_backend_session is null then x.bound_workspace_id else y.workspace_id end,
           bound_verify_time = case when p_backend_session is null then x.bound_verify_time else w.verify_time end
      from sessions y join workspaces w on w.id = y.workspace_id
     where x.session_id = p_session and x.agent = p_agent and y.id = p_session;
  exception when unique_violation then
    outcome := 'in-use';
    return;
  end;
  update sessions x set version = x.version + 1, active_time = clock_timestamp() where x.id = p_session returning * into s;
  perform emit_session('AGENT_CHANGED', s, p_agent, coalesce(p_state, a.state));
  outcome := 'updated';
end $$;

-- outcome as of lock_session, or: recorded, again (the same request before), reused, agent. p_changes: an array, by the names of the columns
create function record_changes(p_session bigint, p_caller text, p_workspace bigint, p_fence bigint, p_agent text, p_request text, p_digest text,
                               p_changes jsonb, out outcome text, out first bigint, out last bigint)
language plpgsql as $$
declare
  v_digest text;
begin
  outcome := (select x.outcome from lock_session(p_session, p_caller, p_workspace, p_fence) x);
  if outcome <> 'ok' then return; end if;
  if not exists (select from session_agents x where x.session_id = p_session and x.agent = p_agent) then outcome := 'agent'; return; end if;
  if p_request <> '' then
    select min(c.sequence), max(c.sequence), min(c.digest) into first, last, v_digest from session_changes c
     where c.session_id = p_session and c.request_id = p_request;
    if first is not null then
      outcome := case when v_digest = p_digest then 'again' else 'reused' end;
      return;
    end if;
  end if;
  update sessions x set sequence = x.sequence + jsonb_array_length(p_changes), active_time = clock_timestamp() where x.id = p_session
    returning x.sequence - jsonb_array_length(p_changes) + 1, x.sequence into first, last;
  insert into session_changes (session_id, sequence, agent, fence, request_id, digest, kind, path, previous_path, base_commit, commit_id, patch,
                               patch_truncated, summary)
  select p_session, first + c.n - 1, p_agent, p_fence, p_request, p_digest, c.value ->> 'kind', c.value ->> 'path', c.value ->> 'previousPath',
         c.value ->> 'baseCommit', c.value ->> 'commit', c.value ->> 'patch', (c.value ->> 'patchTruncated')::bool, c.value ->> 'summary'
    from jsonb_array_elements(p_changes) with ordinality as c (value, n);
  outcome := 'recorded';
end $$;

create function finish_session(p_session bigint, p_caller text, p_workspace bigint, p_fence bigint, p_force bool, out outcome text)
language plpgsql as $$
declare
  s sessions;
begin
  select * into s from sessions x where x.id = p_session and (p_caller is null or x.caller = p_caller) for update;
  if not found then outcome := 'unknown'; return; end if;
  if s.state = 'CLOSED' then outcome := 'already'; return; end if;
  if s.state = 'ACTIVE' and not p_force and (s.workspace_id, s.fence) is distinct from (p_workspace, p_fence) then outcome := 'lost'; return; end if;
  perform close_session(s.id, 'REQUESTED');
  outcome := 'closed';
end $$;

-- Reset by binding: the session goes with the files
create function reset_bound_workspace(p_workspace bigint, p_expected_fence bigint, p_force bool, p_abandon bool) returns text
language plpgsql as $$
declare
  v_session bigint;
  v_outcome text;
begin
  perform lock_workspace(p_workspace);
  select s.id into v_session from workspaces w join repositories r on r.id = w.repository_id
    join sessions s on s.repository = r.name and s.caller = w.bound_caller and s.binding = w.binding and s.state <> 'CLOSED'
   where w.id = p_workspace and w.binding <> '';
  v_outcome := reset_workspace(p_workspace, p_expected_fence, p_force, p_abandon);
  if v_outcome in ('reset', 'ended') and v_session is not null then perform close_session(v_session, 'RESET'); end if;
  return v_outcome;
end $$;

-- agents as they are shown; what stands against resuming is computed here, from the same snapshot, and never stored
create view session_rows as
  select s.*,
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
    from sessions s;
