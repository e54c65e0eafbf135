-- Owns what a full disk changes: nothing new is made, what nobody holds is given up, and work waits for room.

-- Gives workspaces to cleaning with the order to remove them: the least recently used idle ones that min_idle does not keep, or
-- the ones that were parked first; until their sizes add up to p_bytes. Answers which.
create function evict_workspaces(p_server bigint, p_host int, p_state text, p_bytes bigint, p_limit int) returns setof bigint
language plpgsql as $$
declare
  v record;
  w workspaces;
  v_sum bigint := 0;
  v_count int := 0;
begin
  if not exists (select from hosts h where h.id = p_host and h.server_id = p_server) then return; end if;
  -- of one that was not measured nothing is known: what its going brings is looked at before the next
  for v in select x.id, coalesce(s.bytes, p_bytes) as bytes
             from (select y.id, y.state, y.idle_time, y.park_time, r.min_idle,
                          row_number() over (partition by y.repository_id order by y.idle_time desc, y.id) as place
                     from workspaces y join repositories r on r.id = y.repository_id
                    where y.host_id = p_host and y.state = p_state) x
             left join workspace_sizes s on s.workspace_id = x.id
            where x.state = 'PARKED' or x.place > x.min_idle
            order by coalesce(x.idle_time, x.park_time), x.id
  loop
    exit when v_count >= p_limit or (v_sum >= p_bytes and v_count > 0);
    continue when not try_lock_workspace(v.id);
    update workspaces x set state = 'CLEANING', fence = x.fence + 1, removing = true, idle_time = null, attempts = 0, retry_time = null
     where x.id = v.id and x.state = p_state returning * into w;
    continue when not found;
    perform emit_workspace('WORKSPACE_CLAIMED', w, p_state, 'evicted: the disk is low');
    v_sum := v_sum + v.bytes;
    v_count := v_count + 1;
    return next w.id;
  end loop;
end $$;

-- The disk was full. Work waits until it can be saved, however long that takes; what holds none gives its place up.
-- False: the claim was lost.
create function postpone_work(p_server bigint, p_workspace bigint, p_fence bigint, p_problem text) returns bool language plpgsql as $$
declare
  w workspaces;
  v_previous text;
begin
  select * into w from workspaces x where x.id = p_workspace and x.fence = p_fence and x.worker = p_server
     and x.state in ('PREPARING', 'CLEANING') for update;
  if not found then return false; end if;
  v_previous := w.state;
  update workspaces x set state = 'CLEANING', worker = null, claim_time = null, problem = p_problem, verifying = false,
         removing = x.removing or (not x.guard_work and x.attempts >= 2),
         retry_time = clock_timestamp() + make_interval(secs => least(power(2, least(greatest(x.attempts, 1), 10) - 1), 15))
   where x.id = w.id returning * into w;
  if v_previous = 'PREPARING' then perform emit_workspace('WORKSPACE_CLAIMED', w, v_previous, p_problem); end if;
  return true;
end $$;

drop function grant_ticket(bigint, bigint, text, text, bigint, text);
-- outcome: granted, waiting, exhausted, gone, paused; no-room: a workspace would have to be made, and p_may_make says that there
-- is no room for one; of bindings held (waits for its own), in-use, elsewhere; evicting: a place is
-- being made for it, and it goes on asking, whether or not it may wait
create function grant_ticket(p_server bigint, p_ticket bigint, p_commit text, p_head text, p_refs_version bigint, p_root text, p_may_make bool,
                             out outcome text, out place int, out elsewhere text, out workspace bigint, out granted_fence bigint,
                             out granted_path text, out from_commit text, out origin text)
language plpgsql as $$
declare
  t tickets;
  r repositories;
  w workspaces;
  v_id bigint;
  v_before int;
  v_binding text;
  v_making bool;
  v_evicted bigint;
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
    outcome := 'granted'; workspace := w.id; granted_fence := w.fence; granted_path := w.path;
    -- of one that was parked nothing may be moved; any other may be made anew
    if w.guard_work then from_commit := w.commit_id; origin := 'bound'; else from_commit := ''; origin := 'new'; end if;
    return;
  end if;
  select * into r from repositories where id = t.repository_id;
  if r.paused or r.removing then outcome := 'paused'; return; end if;

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

  select count(*) into v_before from tickets x
   where x.repository_id = t.repository_id and x.host_id = t.host_id and x.state = 'WAITING' and x.id < t.id and not x.awaits_binding
     and is_alive(x.server_id);
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

  if w.id is null and v_before = 0 then
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
    place := v_before + 1;
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
