-- Owns what is decided before anything is written: whose lease a session is opened under, and that what was chosen to be removed
-- is still what was chosen.

drop function open_session(bigint, bigint, jsonb, jsonb);
-- outcome: opened, reopened (it was there before this lease), lost (the lease does not live), foreign (it is another caller's than
-- p_caller; null: anybody's), mismatch (another subject). Without a subject the lease's is meant.
create function open_session(p_workspace bigint, p_fence bigint, p_caller text, p_subject jsonb, p_labels jsonb,
                             out outcome text, out session bigint)
language plpgsql as $$
declare
  l leases;
  s sessions;
  v_subject jsonb;
  v_repository text;
  v_host text;
  v_path text;
  v_known bool;
begin
  select * into l from leases x where x.workspace_id = p_workspace and x.fence = p_fence for update;
  if l.caller <> p_caller then outcome := 'foreign'; return; end if;
  if l.workspace_id is null or l.end_time is not null then outcome := 'lost'; return; end if;
  v_subject := coalesce(p_subject, l.subject);
  select r.name, h.name, w.path into v_repository, v_host, v_path from workspaces w
    join repositories r on r.id = w.repository_id join hosts h on h.id = w.host_id where w.id = p_workspace;
  select * into s from sessions x where x.state <> 'CLOSED' and x.repository = v_repository and x.caller = l.caller
     and (x.binding = l.binding and l.binding <> '' or x.workspace_id = p_workspace and x.fence = p_fence) for update;
  v_known := found;
  if v_known then
    session := s.id;
    if v_subject is not null and s.subject is not null and s.subject ->> 'url' <> v_subject ->> 'url' then outcome := 'mismatch'; return; end if;
    -- asked again under the lease that opened it, as when the first answer was lost
    outcome := case when s.create_time < l.acquire_time then 'reopened' else 'opened' end;
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
  perform emit_session('SESSION_OPENED', s, '', case when v_known then 'reopened' else '' end);
end $$;

-- Reset by binding: sessions whose workspace was given up before go as well
create function reset_lost_sessions(p_repository text, p_binding text) returns void language sql as $$
  select close_session(s.id, 'RESET') from sessions s
   where s.repository = p_repository and s.binding = p_binding and s.state = 'SUSPENDED'
     and not exists (select from workspaces w join repositories r on r.id = w.repository_id
                      where r.name = s.repository and w.binding = s.binding and w.bound_caller = s.caller);
$$;

-- as reclaim_workspace, of one that nobody has had since it was chosen; busy: somebody has
create function reclaim_chosen(p_workspace bigint, p_fence bigint) returns text language plpgsql as $$
begin
  perform lock_workspace(p_workspace);
  if exists (select from workspaces w where w.id = p_workspace and w.fence <> p_fence and w.state <> 'RETIRED') then return 'busy'; end if;
  return reclaim_workspace(p_workspace);
end $$;
