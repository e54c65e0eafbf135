-- Owns repositories and the state of their mirrors.

create function emit_repository(p_kind text, p_repository text, p_host text, p_detail text) returns void language sql as $$
  insert into outbox (kind, repository, host, detail) values (p_kind, p_repository, p_host, p_detail)
$$;

-- outcome: registered, same, differs
create function register_repository(p_name text, p_fallback_name text, p_url text, p_min_idle int, p_max_workspaces int, p_stable_path bool,
                                    p_credential text, p_labels jsonb, p_paused bool, p_given_name bool,
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
       and r.labels = p_labels and r.paused = p_paused then 'same' else 'differs' end;
    return;
  end if;
  if exists (select from repositories x where x.name = v_name) then v_name := p_fallback_name; end if;
  insert into repositories (name, url, min_idle, max_workspaces, stable_path, credential, labels, paused)
  values (v_name, p_url, p_min_idle, p_max_workspaces, p_stable_path, p_credential, p_labels, p_paused) returning * into r;
  perform emit_repository('REPOSITORY_REGISTERED', r.name, '', r.url);
  repository := r.id;
  outcome := 'registered';
end $$;

create function update_mirror(p_repository int, p_host int, p_state text, p_problem text, p_default_branch text, p_digest text,
                              p_fetched_ago interval) returns void
language plpgsql as $$
declare
  m mirrors;
  v_name text;
  v_host text;
begin
  insert into mirrors (repository_id, host_id, state) values (p_repository, p_host, 'MIRRORING') on conflict do nothing;
  select * into m from mirrors x where x.repository_id = p_repository and x.host_id = p_host for update;
  select r.name into v_name from repositories r where r.id = p_repository;
  select h.name into v_host from hosts h where h.id = p_host;
  update mirrors x set state = p_state,
         -- another attempt keeps what is known of the last one until it is over
         problem = case when p_state = 'MIRRORING' then x.problem else p_problem end,
         default_branch = case when p_state = 'READY' then p_default_branch else x.default_branch end,
         digest = case when p_state = 'READY' then p_digest else x.digest end,
         refs_version = x.refs_version + case when p_state = 'READY' and x.digest <> p_digest then 1 else 0 end,
         fetch_time = case when p_fetched_ago is null then x.fetch_time
                           else greatest(x.fetch_time, clock_timestamp() - p_fetched_ago) end,
         attempts = case p_state when 'FAILED' then x.attempts + 1 when 'READY' then 0 else x.attempts end,
         retry_time = case when p_state = 'FAILED' then clock_timestamp() + make_interval(secs => least(5 * power(2, least(x.attempts, 10)), 900)) end,
         received_objects = 0, total_objects = 0, received_bytes = 0
   where x.repository_id = p_repository and x.host_id = p_host;
  if p_state = 'READY' and m.state <> 'READY' then
    perform emit_repository('REPOSITORY_READY', v_name, v_host, '');
  elsif p_state = 'READY' and m.digest <> p_digest then
    perform emit_repository('MIRROR_CHANGED', v_name, v_host, '');
  elsif p_state = 'FAILED' and m.problem <> p_problem then
    perform emit_repository('REPOSITORY_FAILED', v_name, v_host, p_problem);
  end if;
end $$;

-- outcome: removing, unknown, in-use
create function remove_repository(p_name text, p_force bool, out outcome text, out leases int, out quarantined int)
language plpgsql as $$
declare
  r repositories;
  v record;
begin
  select * into r from repositories x where x.name = p_name for update;
  if not found then outcome := 'unknown'; return; end if;
  select count(*) filter (where w.state = 'LEASED'), count(*) filter (where w.state = 'QUARANTINED') into leases, quarantined
    from workspaces w where w.repository_id = r.id;
  if quarantined > 0 or (leases > 0 and not p_force) then outcome := 'in-use'; return; end if;
  update repositories set removing = true where id = r.id;
  update tickets set state = 'FAILED', workspace_id = null, fence = null,
         failure = jsonb_build_object('reason', 'REPOSITORY_NOT_FOUND', 'message', 'the repository was removed', 'metadata', '{}'::jsonb)
   where repository_id = r.id and state in ('OPEN', 'WAITING');
  for v in select l.workspace_id, l.fence from leases l join workspaces w on w.id = l.workspace_id
            where w.repository_id = r.id and l.end_time is null order by l.workspace_id
  loop
    perform end_lease(v.workspace_id, v.fence, 'RECLAIMED', true, true);
  end loop;
  for v in select w.id from workspaces w where w.repository_id = r.id and w.state = 'IDLE' order by w.id
  loop
    perform reclaim_workspace(v.id);
  end loop;
  outcome := 'removing';
end $$;

create function finish_removals() returns setof text language plpgsql as $$
declare
  r repositories;
  v_id bigint;
begin
  -- those that were being made or cleaned when the removal began
  for v_id in select w.id from workspaces w join repositories x on x.id = w.repository_id
               where x.removing and w.state = 'IDLE' order by w.id
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
