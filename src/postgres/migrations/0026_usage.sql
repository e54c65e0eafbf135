-- Owns how many bytes things take on hosts' disks, and how much room there is. Measured behind by the owner of each host, so
-- every number bears the time that it is of.

create table workspace_sizes (
  workspace_id bigint primary key references workspaces on delete cascade,
  -- of its files, without what belongs to the mirror
  bytes bigint not null constraint sizes_are_not_negative check (bytes >= 0),
  -- the workspace's version when it was measured
  version bigint not null,
  measure_time timestamptz not null default clock_timestamp()
);

create table place_sizes (
  host_id int not null references hosts on delete cascade,
  kind text not null constraint place_is_known
    check (kind in ('MIRROR', 'SALVAGES', 'DEPENDENCIES', 'SUBMODULES', 'TRASH', 'OTHER')),
  -- also one that was removed and has left salvages; empty where a place is of no single one
  repository text not null,
  bytes bigint not null constraint places_are_not_negative check (bytes >= 0),
  measure_time timestamptz not null default clock_timestamp(),
  primary key (host_id, kind, repository)
);

create table host_disks (
  host_id int primary key references hosts on delete cascade,
  total_bytes bigint not null,
  free_bytes bigint not null,
  low_bytes bigint not null,
  min_free_bytes bigint not null,
  reserve_bytes bigint not null,
  -- free space has fallen below low_bytes, and was not told to have recovered since
  low bool not null default false,
  check_time timestamptz not null default clock_timestamp()
);

-- What is to be measured next: what was never measured, what a lease has left since, and what is leased for so long.
create function due_sizes(p_host int, p_settle interval, p_fresh interval, p_limit int)
returns table (workspace bigint, workspace_version bigint, workspace_path text, repository text) language sql stable as $$
  select w.id, w.version, w.path, r.name
    from workspaces w
    join repositories r on r.id = w.repository_id
    left join workspace_sizes s on s.workspace_id = w.id
   where w.host_id = p_host and w.state in ('IDLE', 'LEASED', 'PARKED', 'QUARANTINED')
     and (s.workspace_id is null
          or (s.version <> w.version and w.state <> 'LEASED' and s.measure_time < clock_timestamp() - p_settle)
          or (w.state = 'LEASED' and s.measure_time < clock_timestamp() - p_fresh))
   order by s.measure_time nulls first, w.id limit p_limit
$$;

-- Of a workspace that has changed meanwhile only part may have been seen: it is measured again.
create function store_size(p_workspace bigint, p_version bigint, p_bytes bigint) returns void language sql as $$
  insert into workspace_sizes (workspace_id, bytes, version)
  select w.id, p_bytes, w.version from workspaces w where w.id = p_workspace and w.version = p_version
      on conflict (workspace_id) do update set bytes = excluded.bytes, version = excluded.version, measure_time = excluded.measure_time
$$;

-- Stores what the owner has seen of its disk. An event for each crossing: low below low_bytes, recovered from p_recover_bytes on.
create function note_disk(p_server bigint, p_host int, p_total bigint, p_free bigint, p_low bigint, p_min_free bigint, p_reserve bigint,
                          p_recover bigint) returns bool
language plpgsql as $$
declare
  v_was bool;
  v_low bool;
begin
  if not exists (select from hosts h where h.id = p_host and h.server_id = p_server) then return false; end if;
  insert into host_disks (host_id, total_bytes, free_bytes, low_bytes, min_free_bytes, reserve_bytes)
  values (p_host, p_total, p_free, p_low, p_min_free, p_reserve) on conflict do nothing;
  select d.low into v_was from host_disks d where d.host_id = p_host for update;
  v_low := case when v_was then p_free < p_recover else p_free < p_low end;
  update host_disks d set total_bytes = p_total, free_bytes = p_free, low_bytes = p_low, min_free_bytes = p_min_free,
         reserve_bytes = p_reserve, low = v_low, check_time = clock_timestamp()
   where d.host_id = p_host;
  if v_low <> v_was then
    insert into outbox (kind, host, detail)
    select case when v_low then 'DISK_LOW' else 'DISK_RECOVERED' end, h.name,
           format('%s of %s bytes are free, low below %s', p_free, p_total, p_low)
      from hosts h where h.id = p_host;
  end if;
  return v_low;
end $$;

-- what one repository takes on all hosts
create view repository_sizes as
  select r.id as repository_id,
         coalesce((select sum(s.bytes) from workspace_sizes s join workspaces w on w.id = s.workspace_id
                    where w.repository_id = r.id and w.state <> 'RETIRED'), 0)
         + coalesce((select sum(p.bytes) from place_sizes p where p.repository = r.name), 0) as bytes
    from repositories r;
