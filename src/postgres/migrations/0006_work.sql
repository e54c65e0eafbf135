-- Owns the file work that is due on a host: claims with a new fence, results by compare-and-set on it.

create function claim_work(p_server bigint, p_host int, p_known bigint[], p_root text, p_limit int)
returns table (workspace bigint, fence bigint, repository_id int, kind text, path text, candidates text[], from_commit text,
               guard_work bool, attempt int)
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
           path = case when x.removing or r.removing then x.path else new_path(p_root, r.name, x.id, x.fence + 1, r.stable_path) end
     where x.id = w.id returning * into w;
    if v_previous = 'PREPARING' then
      perform emit_workspace('WORKSPACE_CLAIMED', w, v_previous, 'left half done');
    end if;
    workspace := w.id; fence := w.fence; repository_id := w.repository_id;
    kind := case when w.removing then 'remove' else 'clean' end;
    path := w.path; candidates := w.path || array_remove(w.old_paths, w.path); from_commit := w.commit_id;
    guard_work := w.guard_work; attempt := w.attempts;
    return next;
  end loop;
end $$;

create function claim_missing_idle(p_server bigint, p_host int, p_root text, p_limit int)
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
             and x.state in ('IDLE', 'PREPARING', 'LEASED', 'CLEANING')) < r.max_workspaces
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

-- false: the claim was lost
create function finish_work(p_server bigint, p_workspace bigint, p_fence bigint, p_kind text, p_commit text, p_head text,
                            p_refs_version bigint, p_path text, p_problem text) returns bool
language plpgsql as $$
declare
  w workspaces;
  v_previous text;
  v_kind text := p_kind;
begin
  select * into w from workspaces x where x.id = p_workspace and x.fence = p_fence and x.worker = p_server
     and x.state in ('PREPARING', 'CLEANING') for update;
  if not found then return false; end if;
  v_previous := w.state;
  if v_kind = 'failed' and w.attempts >= 5 then v_kind := 'quarantined'; end if;
  if v_kind = 'idle' and w.removing then
    -- Reclaim came while it was being cleaned: the next claim removes it
    update workspaces x set state = 'CLEANING', worker = null, claim_time = null, guard_work = false, commit_id = p_commit where x.id = w.id;
  elsif v_kind = 'idle' then
    update workspaces x set state = 'IDLE', worker = null, claim_time = null, attempts = 0, retry_time = null, removing = false,
           guard_work = false, old_paths = '{}', commit_id = p_commit, head = p_head, refs_version = p_refs_version, problem = '',
           idle_time = clock_timestamp()
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

-- tickets that nobody attends, request ids that may be forgotten, rows of the dead
create function keep_house(p_retention interval) returns void language plpgsql as $$
begin
  if not pg_try_advisory_xact_lock(70, 2) then return; end if;
  delete from tickets t where t.state in ('OPEN', 'WAITING', 'FAILED') and not is_alive(t.server_id)
     and (not t.kept or coalesce(t.leave_time, (select s.seen_time from servers s where s.id = t.server_id), t.create_time)
                        < clock_timestamp() - interval '30 seconds');
  delete from tickets t using leases l where t.state = 'LEASED' and l.workspace_id = t.workspace_id and l.fence = t.fence
     and l.end_time < clock_timestamp() - case when t.kept then interval '24 hours' else interval '1 minute' end;
  delete from tickets t where t.state = 'LEASED'
     and not exists (select from leases l where l.workspace_id = t.workspace_id and l.fence = t.fence);
  delete from leases l where l.end_time < clock_timestamp() - greatest(p_retention, interval '25 hours');
  delete from workspaces w where w.state = 'RETIRED' and not exists (select from leases l where l.workspace_id = w.id)
     and w.create_time < clock_timestamp() - greatest(p_retention, interval '25 hours');
  delete from servers s where s.seen_time < clock_timestamp() - interval '1 day'
     and not exists (select from hosts h where h.server_id = s.id);
end $$;
