-- Owns tickets: opening, queueing, granting, giving back.
-- Lock order: request, queue, ticket row; a workspace is only tried for, never waited for, while a ticket is held.

create function is_alive(p_server bigint) returns bool language sql stable as $$
  select exists (select from servers s where s.id = p_server and s.seen_time > clock_timestamp() - interval '5 seconds')
$$;

create function new_path(p_root text, p_repository text, p_workspace bigint, p_fence bigint, p_stable bool) returns text
language sql immutable as $$
  select p_root || '/' || p_repository || '/w' || p_workspace || case when p_stable then '' else '.' || p_fence end
$$;

create function open_ticket(p_server bigint, p_caller text, p_request_id text, p_kept bool, p_digest text,
                            p_repository int, p_host int, p_spec jsonb, out outcome text, out ticket bigint)
language plpgsql as $$
declare
  t tickets;
begin
  perform lock_request(p_caller, p_request_id);
  select * into t from tickets x where x.caller = p_caller and x.kept = p_kept and x.request_id = p_request_id for update;
  if found and t.state = 'FAILED' then
    -- a failed request holds nothing: the same id begins anew
    delete from tickets where id = t.id;
    t := null;
  end if;
  if t.id is not null then
    ticket := t.id;
    if t.digest <> p_digest then
      outcome := 'reused';
      return;
    end if;
    update tickets set server_id = p_server, leave_time = null where id = t.id;
    outcome := case when t.state = 'LEASED' then 'leased' else 'joined' end;
    return;
  end if;
  insert into tickets (caller, request_id, kept, digest, repository_id, host_id, spec, server_id)
  values (p_caller, p_request_id, p_kept, p_digest, p_repository, p_host, p_spec, p_server) returning id into ticket;
  outcome := 'opened';
end $$;

-- the last caller of this server has gone
create function leave_ticket(p_server bigint, p_ticket bigint, p_forget bool, out place int, out gone bool)
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
     where x.repository_id = t.repository_id and x.host_id = t.host_id and x.state = 'WAITING' and x.id < t.id and is_alive(x.server_id);
  end if;
  if t.state in ('OPEN', 'WAITING', 'FAILED') and (p_forget or not t.kept) then
    delete from tickets where id = t.id;
    gone := true;
  else
    update tickets set server_id = null, leave_time = clock_timestamp() where id = t.id;
  end if;
end $$;

-- an answer with the lease was written to a caller: from now on no lost answer of a replay ends it
create function deliver_ticket(p_ticket bigint) returns void language sql as $$
  update tickets set delivered = true, server_id = null, leave_time = clock_timestamp() where id = p_ticket and state = 'LEASED'
$$;

create function grant_ticket(p_server bigint, p_ticket bigint, p_commit text, p_head text, p_refs_version bigint, p_root text,
                             out outcome text, out place int, out workspace bigint, out granted_fence bigint,
                             out granted_path text, out from_commit text, out origin text)
language plpgsql as $$
declare
  t tickets;
  r repositories;
  w workspaces;
  v_id bigint;
  v_before int;
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
    outcome := 'granted'; workspace := w.id; granted_fence := w.fence; granted_path := w.path; from_commit := ''; origin := 'new';
    return;
  end if;
  select * into r from repositories where id = t.repository_id;
  if r.paused or r.removing then outcome := 'paused'; return; end if;

  select count(*) into v_before from tickets x
   where x.repository_id = t.repository_id and x.host_id = t.host_id and x.state = 'WAITING' and x.id < t.id and is_alive(x.server_id);
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
             and x.state in ('PREPARING', 'IDLE', 'LEASED', 'CLEANING')) < r.max_workspaces then
      insert into workspaces (repository_id, host_id, state, path, worker, claim_time)
      values (r.id, t.host_id, 'PREPARING', '', p_server, clock_timestamp()) returning * into w;
      update workspaces x set path = new_path(p_root, r.name, x.id, x.fence, r.stable_path) where x.id = w.id returning * into w;
      origin := 'new';
      from_commit := '';
      perform emit_workspace('WORKSPACE_CREATED', w, null, '');
    end if;
  end if;

  if w.id is null then
    place := v_before + 1;
    if coalesce((t.spec ->> 'mayWait')::bool, false) then
      update tickets set state = 'WAITING' where id = t.id and state <> 'WAITING';
      outcome := 'waiting';
    else
      outcome := 'exhausted';
    end if;
    return;
  end if;
  update tickets set state = 'GRANTED', workspace_id = w.id, fence = w.fence where id = t.id;
  outcome := 'granted'; workspace := w.id; granted_fence := w.fence; granted_path := w.path;
end $$;

-- the grant is given up; the ticket, if it still is there, is open again
create function give_back(p_server bigint, p_ticket bigint, p_workspace bigint, p_fence bigint, p_to text) returns bool
language plpgsql as $$
declare
  w workspaces;
begin
  perform lock_workspace(p_workspace);
  update workspaces x set state = p_to, worker = null, claim_time = null,
         idle_time = case when p_to = 'IDLE' then clock_timestamp() end,
         fence = x.fence + 1, guard_work = false
   where x.id = p_workspace and x.fence = p_fence and x.worker = p_server and x.state = 'PREPARING' returning * into w;
  if not found then return false; end if;
  perform emit_workspace(case when p_to = 'IDLE' then 'WORKSPACE_READY' else 'WORKSPACE_CLAIMED' end, w, 'PREPARING', 'given back');
  update tickets set state = 'OPEN', workspace_id = null, fence = null
   where id = p_ticket and state = 'GRANTED' and workspace_id = p_workspace and fence = p_fence;
  return true;
end $$;

create function fail_ticket(p_ticket bigint, p_failure jsonb) returns void language sql as $$
  update tickets set state = 'FAILED', failure = p_failure, workspace_id = null, fence = null
   where id = p_ticket and state in ('OPEN', 'WAITING', 'GRANTED')
$$;
