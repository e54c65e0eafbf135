-- Owns that a ticket is served by the owner of its own host, whichever server its callers came to, in the order of the line, and that
-- what one caller of it gives up is not taken from the others.

-- Who stands before a ticket: those who wait, and those for whom a place is being made.
create function line_before(t tickets, out waiting int, out evicting int) language sql stable as $$
  select count(*) filter (where x.state = 'WAITING'), count(*) filter (where x.state = 'OPEN') from tickets x
   where x.repository_id = t.repository_id and x.host_id = t.host_id and x.id < t.id and not x.awaits_binding
     and (x.state = 'WAITING' or (x.state = 'OPEN' and x.evicting)) and is_alive(x.server_id)
$$;

-- 0: it stands in no line
create function place_of(t tickets) returns int language sql stable as $$
  select case when t.state = 'WAITING' or (t.state = 'OPEN' and t.evicting)
              then (select b.waiting + b.evicting + 1 from line_before(t) b) else 0 end
$$;

drop function open_ticket(bigint, text, text, bool, text, int, int, jsonb);
-- host: where the ticket is served; of one that was joined, where its first caller went
create function open_ticket(p_server bigint, p_caller text, p_request_id text, p_kept bool, p_digest text,
                            p_repository int, p_host int, p_spec jsonb, out outcome text, out ticket bigint, out host int)
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
    host := t.host_id;
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
  host := p_host;
  outcome := 'opened';
end $$;

drop function leave_ticket(bigint, bigint, bool);
-- The last caller of this server has gone, or (p_over) its wait has run out; then a ticket that has come to something is left alone, and
-- gone says that it has not. What has a request id keeps its place for 30 s: others may attend it elsewhere, or come back to it.
create function leave_ticket(p_server bigint, p_ticket bigint, p_over bool, out place int, out gone bool)
language plpgsql as $$
declare
  t tickets;
begin
  place := 0;
  select * into t from tickets where id = p_ticket for update;
  gone := not found;
  if gone or (p_over and t.state not in ('OPEN', 'WAITING')) then return; end if;
  place := place_of(t);
  gone := p_over;
  if t.server_id is distinct from p_server then return; end if;
  if t.state in ('OPEN', 'WAITING', 'FAILED') and not t.kept then
    delete from tickets where id = t.id;
    gone := true;
  else
    update tickets set server_id = null, leave_time = clock_timestamp() where id = t.id;
  end if;
end $$;

drop function grant_ticket(bigint, bigint, text, text, bigint, text, bool);
-- p_url: of the upstream where p_commit was found.
-- outcome: granted, waiting, exhausted, gone, paused; moved: the repository has another upstream since; no-room: a workspace would have to be made, and p_may_make says that there
-- is no room for one; of bindings held (waits for its own), in-use, elsewhere; evicting: a place is
-- being made for it, and it goes on asking, whether or not it may wait
create function grant_ticket(p_server bigint, p_ticket bigint, p_commit text, p_head text, p_refs_version bigint, p_root text, p_may_make bool, p_url text,
                             out outcome text, out place int, out elsewhere text, out workspace bigint, out granted_fence bigint,
                             out granted_path text, out from_commit text, out origin text)
language plpgsql as $$
declare
  t tickets;
  r repositories;
  w workspaces;
  v_id bigint;
  v_before record;
  v_free bool;
  v_binding text;
  v_making bool;
  v_evicted bigint;
begin
  select * into t from tickets where id = p_ticket;
  if not found then outcome := 'gone'; return; end if;
  perform lock_queue(t.repository_id, t.host_id);
  select * into t from tickets where id = p_ticket for update;
  if not found or t.state not in ('OPEN', 'WAITING', 'GRANTED') or not is_alive(t.server_id) then outcome := 'gone'; return; end if;
  -- what is made for it is made on its host, by the one who owns that host's directories
  if not exists (select from hosts h where h.id = t.host_id and h.server_id = p_server) then outcome := 'gone'; return; end if;
  if t.state = 'GRANTED' then
    -- the reply to an earlier call was lost
    select * into w from workspaces x where x.id = t.workspace_id and x.fence = t.fence and x.worker = p_server and x.state = 'PREPARING';
    if not found then outcome := 'gone'; return; end if;
    outcome := 'granted'; workspace := w.id; granted_fence := w.fence; granted_path := w.path;
    -- of one that was parked nothing may be moved; any other may be made anew
    if w.guard_work then from_commit := w.commit_id; origin := 'bound'; else from_commit := ''; origin := 'new'; end if;
    return;
  end if;
  select * into r from repositories where id = t.repository_id;
  if r.paused or r.removing then outcome := 'paused'; return; end if;
  if r.url <> p_url then outcome := 'moved'; return; end if;

  v_binding := coalesce(t.spec ->> 'binding', '');
  if v_binding <> '' then
    perform lock_binding(t.repository_id, t.caller, v_binding);
    select * into w from workspaces x where x.repository_id = t.repository_id and x.bound_caller = t.caller and x.binding = v_binding;
    if w.id is not null then
      if w.host_id <> t.host_id then
        outcome := 'elsewhere';
        elsewhere := (select h.name from hosts h where h.id = w.host_id);
        return;
      end if;
      if w.state = 'PARKED' and try_lock_workspace(w.id) then
        update workspaces x set state = 'PREPARING', fence = x.fence + 1, worker = p_server, claim_time = clock_timestamp(),
               attempts = 0, retry_time = null
         where x.id = w.id and x.fence = w.fence and x.state = 'PARKED' returning * into w;
        if found then
          perform emit_workspace('WORKSPACE_CLAIMED', w, 'PARKED', 'granted');
          update tickets set state = 'GRANTED', workspace_id = w.id, fence = w.fence, awaits_binding = false where id = t.id;
          outcome := 'granted'; workspace := w.id; granted_fence := w.fence; granted_path := w.path; from_commit := w.commit_id;
          origin := 'bound';
          return;
        end if;
      end if;
      -- held, or what it holds is being salvaged: it waits for that, and stands before nobody
      place := 1;
      outcome := case when (t.spec ->> 'mayWait')::bool then 'held' when w.state = 'LEASED' then 'in-use' else 'evicting' end;
      update tickets set awaits_binding = true, state = case when outcome = 'held' then 'WAITING' else state end where id = t.id;
      return;
    end if;
  end if;

  select * into v_before from line_before(t);
  -- what was made free for others is theirs
  v_free := v_before.waiting = 0 and (v_before.evicting = 0 or v_before.evicting <
    r.max_workspaces - (select count(*) from workspaces x where x.repository_id = r.id and x.host_id = t.host_id
                           and x.state in ('PREPARING', 'LEASED', 'CLEANING', 'PARKED')));
  if v_free then
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
             and x.state in ('PREPARING', 'IDLE', 'LEASED', 'CLEANING', 'PARKED')) < r.max_workspaces then
      if not p_may_make then outcome := 'no-room'; return; end if;
      insert into workspaces (repository_id, host_id, state, path, worker, claim_time)
      values (r.id, t.host_id, 'PREPARING', '', p_server, clock_timestamp()) returning * into w;
      update workspaces x set path = new_path(p_root, r.name, x.id, x.fence, r.stable_path) where x.id = w.id returning * into w;
      origin := 'new';
      from_commit := '';
      perform emit_workspace('WORKSPACE_CREATED', w, null, '');
    end if;
  end if;

  if w.id is null and v_before.waiting = 0 then
    -- before anybody is refused, the least recently parked one is given up; not more of them than there are tickets in need
    v_making := exists (select from workspaces x where x.repository_id = r.id and x.host_id = t.host_id and x.state = 'CLEANING' and not x.removing);
    if not (t.evicting and v_making) then
      select x.id into v_evicted from workspaces x where x.repository_id = r.id and x.host_id = t.host_id and x.state = 'PARKED'
       order by x.park_time limit 1;
      if try_lock_workspace(v_evicted) then
        update workspaces x set state = 'CLEANING', fence = x.fence + 1, removing = false, attempts = 0, retry_time = null
         where x.id = v_evicted and x.state = 'PARKED' returning * into w;
        if found then perform emit_workspace('WORKSPACE_CLAIMED', w, 'PARKED', 'evicted'); end if;
        w := null;
      end if;
    end if;
    if v_evicted is not null or (t.evicting and v_making) then
      update tickets set evicting = true, awaits_binding = false where id = t.id;
      place := 1;
      outcome := 'evicting';
      return;
    end if;
  end if;
  if w.id is null then
    place := v_before.waiting + v_before.evicting + 1;
    if coalesce((t.spec ->> 'mayWait')::bool, false) then
      update tickets set state = 'WAITING', awaits_binding = false where id = t.id and (state <> 'WAITING' or awaits_binding);
      outcome := 'waiting';
    else
      outcome := 'exhausted';
    end if;
    return;
  end if;
  if v_binding <> '' then
    update workspaces x set binding = v_binding, bound_caller = t.caller where x.id = w.id returning * into w;
  end if;
  update tickets set state = 'GRANTED', workspace_id = w.id, fence = w.fence, awaits_binding = false where id = t.id;
  outcome := 'granted'; workspace := w.id; granted_fence := w.fence; granted_path := w.path;
end $$;
