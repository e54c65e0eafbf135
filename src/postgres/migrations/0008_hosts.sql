-- Owns hosts, their owners, and since when an owner has been well.

-- outcome: joined, or taken: the name belongs to another data directory
create function join_host(p_name text, p_data_id uuid, out outcome text, out host int, out desk bigint) language plpgsql as $$
declare
  h hosts;
begin
  insert into hosts (name, data_id) values (p_name, p_data_id) on conflict do nothing;
  select * into h from hosts x where x.name = p_name and not x.removed;
  if h.data_id <> p_data_id then outcome := 'taken'; return; end if;
  host := h.id;
  insert into servers (host_id) values (h.id) returning id into desk;
  outcome := 'joined';
end $$;

-- the caller holds the host's session lock; answers the id under which it owns the host from now on
create function own_host(p_host int, p_desk bigint) returns bigint language plpgsql as $$
declare
  v_server bigint;
begin
  insert into servers (host_id) values (p_host) returning id into v_server;
  -- the owner before is most likely dead, and nobody need wait behind its callers; if not, it attends them again
  update tickets t set server_id = null, leave_time = clock_timestamp()
    from hosts h where h.id = p_host and h.desk_id <> p_desk and t.server_id = h.desk_id and t.state in ('OPEN', 'WAITING');
  update hosts set server_id = v_server, desk_id = p_desk, well_time = clock_timestamp(), seen_time = clock_timestamp() where id = p_host;
  insert into outbox (kind, host) select 'HOST_JOINED', h.name from hosts h where h.id = p_host;
  return v_server;
end $$;

-- p_broken: this server failed to reach the database since its last beat. False: another server owns the host.
create function beat(p_desk bigint, p_owner bigint, p_host int, p_broken bool) returns bool language plpgsql as $$
begin
  update servers set seen_time = clock_timestamp() where id in (p_desk, p_owner);
  update hosts h set seen_time = clock_timestamp(),
         well_time = case when p_broken or h.well_time is null or h.seen_time < clock_timestamp() - interval '3 seconds'
                            or h.well_time < pg_postmaster_start_time()
                          then clock_timestamp() else h.well_time end
   where h.id = p_host and h.server_id = p_owner;
  return found;
end $$;

create function leave_host(p_desk bigint, p_owner bigint) returns void language sql as $$
  update tickets set server_id = null, leave_time = clock_timestamp() where server_id = p_desk;
  update hosts set server_id = null, well_time = null where server_id = p_owner;
  delete from servers where id in (p_desk, p_owner);
$$;

-- outcome: removed, unknown, owned, in-use
create function remove_host(p_name text, p_force bool, out outcome text, out leases int) language plpgsql as $$
declare
  h hosts;
  w workspaces;
  v record;
begin
  select * into h from hosts x where x.name = p_name and not x.removed for update;
  if not found then outcome := 'unknown'; return; end if;
  if h.server_id is not null and h.seen_time > clock_timestamp() - interval '5 seconds' then outcome := 'owned'; return; end if;
  select count(*) into leases from workspaces x where x.host_id = h.id and x.state = 'LEASED';
  if leases > 0 and not p_force then outcome := 'in-use'; return; end if;
  for v in select l.workspace_id, l.fence from leases l join workspaces x on x.id = l.workspace_id
            where x.host_id = h.id and l.end_time is null order by l.workspace_id
  loop
    perform end_lease(v.workspace_id, v.fence, 'RECLAIMED', true, true);
  end loop;
  for v in select x.id, x.state from workspaces x where x.host_id = h.id and x.state <> 'RETIRED' order by x.id
  loop
    update workspaces x set state = 'RETIRED', worker = null, idle_time = null, fence = x.fence + 1 where x.id = v.id returning * into w;
    perform emit_workspace('WORKSPACE_RETIRED', w, v.state, 'its host was removed');
  end loop;
  delete from mirrors m where m.host_id = h.id;
  update tickets set state = 'FAILED', workspace_id = null, fence = null,
         failure = jsonb_build_object('reason', 'HOST_NOT_FOUND', 'message', 'the host was removed', 'metadata', '{}'::jsonb)
   where host_id = h.id and state in ('OPEN', 'WAITING', 'GRANTED');
  update hosts x set removed = true, server_id = null where x.id = h.id;
  insert into outbox (kind, host) values ('HOST_REMOVED', h.name);
  outcome := 'removed';
end $$;
