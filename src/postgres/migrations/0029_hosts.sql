-- Owns that a host which was removed is owned by nobody, and that a server which comes back can be told of again.

-- null: the host was removed. The caller holds the host's session lock; answers the id under which it owns the host from now on.
create or replace function own_host(p_host int, p_desk bigint) returns bigint language plpgsql as $$
declare
  v_server bigint;
begin
  perform from hosts h where h.id = p_host and not h.removed for update;
  if not found then return null; end if;
  insert into servers (host_id) values (p_host) returning id into v_server;
  -- the owner before is most likely dead, and nobody need wait behind its callers; if not, it attends them again
  update tickets t set server_id = null, leave_time = clock_timestamp()
    from hosts h where h.id = p_host and h.desk_id <> p_desk and t.server_id = h.desk_id and t.state in ('OPEN', 'WAITING');
  update hosts set server_id = v_server, desk_id = p_desk, well_time = clock_timestamp(), seen_time = clock_timestamp() where id = p_host;
  insert into outbox (kind, host) select 'HOST_JOINED', h.name from hosts h where h.id = p_host;
  return v_server;
end $$;

-- p_broken: this server failed to reach the database since its last beat. False: another server owns the host.
create or replace function beat(p_desk bigint, p_owner bigint, p_host int, p_broken bool) returns bool language plpgsql as $$
begin
  update servers set seen_time = clock_timestamp() where id = p_owner;
  -- one that was away for so long that it was forgotten is told of again, by the same id: its callers' tickets carry it
  insert into servers as s (id, host_id) overriding system value values (p_desk, p_host)
      on conflict (id) do update set seen_time = clock_timestamp();
  update hosts h set seen_time = clock_timestamp(),
         well_time = case when p_broken or h.well_time is null or h.seen_time < clock_timestamp() - interval '3 seconds'
                            or h.well_time < pg_postmaster_start_time()
                          then clock_timestamp() else h.well_time end
   where h.id = p_host and h.server_id = p_owner;
  return found;
end $$;

-- Under which number a server whose host was removed goes on: a new host of that name. Null: the name is another data directory's now.
create function rejoin_host(p_name text, p_data_id uuid) returns int language plpgsql as $$
begin
  insert into hosts (name, data_id) values (p_name, p_data_id) on conflict do nothing;
  return (select h.id from hosts h where h.name = p_name and not h.removed and h.data_id = p_data_id);
end $$;
