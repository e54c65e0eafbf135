-- Owns what becomes of workspaces that nobody wants: idle ones beyond their repository's idle_ttl, and directories whose row is gone.

-- 0: they stay
alter table repositories add column idle_ttl_ms bigint not null default 0 constraint idle_ttl_is_a_time check (idle_ttl_ms >= 0);

create or replace function register_repository(p_name text, p_fallback_name text, p_settings jsonb, p_given_name bool, out outcome text, out repository int)
language plpgsql as $$
declare
  s repositories := jsonb_populate_record(null::repositories, p_settings);
  r repositories;
  v_name text := p_name;
begin
  -- one registration at a time: names and URLs are decided together
  perform pg_advisory_xact_lock(70, 3);
  select * into r from repositories x where x.url = s.url;
  if not found and p_given_name then
    select * into r from repositories x where x.name = p_name;
  end if;
  if r.id is not null then
    repository := r.id;
    outcome := case when not r.removing and (not p_given_name or r.name = p_name) and to_jsonb(r) @> p_settings
                     and r.labels = s.labels and r.salvage_ignored = s.salvage_ignored then 'same' else 'differs' end;
    return;
  end if;
  if exists (select from repositories x where x.name = v_name) then v_name := p_fallback_name; end if;
  insert into repositories (name, url, min_idle, max_workspaces, stable_path, credential, labels, paused, salvage_ttl_ms, object_storage,
                            kill_stragglers, salvage_ignored, share_dependencies, idle_ttl_ms)
  values (v_name, s.url, s.min_idle, s.max_workspaces, s.stable_path, s.credential, s.labels, s.paused, s.salvage_ttl_ms, s.object_storage,
          s.kill_stragglers, s.salvage_ignored, s.share_dependencies, coalesce(s.idle_ttl_ms, 0)) returning * into r;
  perform emit_repository('REPOSITORY_REGISTERED', r.name, '', r.url);
  repository := r.id;
  outcome := 'registered';
end $$;

-- Asked by a host's owner. Those that have been idle for longest go first, and never so many that fewer than min_idle are left.
create function retire_idle(p_server bigint, p_host int, p_limit int) returns int language plpgsql as $$
declare
  r record;
  v_id bigint;
  v_surplus int;
  n int := 0;
begin
  if not exists (select from hosts h where h.id = p_host and h.server_id = p_server) then return 0; end if;
  for r in select x.id, x.min_idle, x.idle_ttl_ms from repositories x where x.idle_ttl_ms > 0 and not x.removing
              and exists (select from workspaces w where w.repository_id = x.id and w.host_id = p_host and w.state = 'IDLE'
                             and w.idle_time < clock_timestamp() - make_interval(secs => x.idle_ttl_ms / 1000.0))
            order by x.id
  loop
    perform lock_queue(r.id, p_host);
    v_surplus := (select count(*) from workspaces w where w.repository_id = r.id and w.host_id = p_host and w.state = 'IDLE') - r.min_idle;
    for v_id in select w.id from workspaces w where w.repository_id = r.id and w.host_id = p_host and w.state = 'IDLE'
                   and w.idle_time < clock_timestamp() - make_interval(secs => r.idle_ttl_ms / 1000.0)
                 order by w.idle_time limit greatest(v_surplus, 0)
    loop
      exit when n >= p_limit;
      continue when not try_lock_workspace(v_id);
      continue when not exists (select from workspaces w where w.id = v_id and w.state = 'IDLE');
      if reclaim_workspace(v_id) = 'removed' then n := n + 1; end if;
    end loop;
  end loop;
  return n;
end $$;

-- A directory <repository>/w<id>[.<fence>] of the host. known: its workspace has a row, and had that fence. adopted: it has none and is ours (p_marked: a
-- trusted index says so); it gets one again, under which the owner salvages what is in it and removes it. foreign: it is not
-- ours, or its number was never given here.
create function adopt_directory(p_server bigint, p_host int, p_repository text, p_workspace bigint, p_fence bigint, p_path text, p_marked bool)
returns text language plpgsql as $$
declare
  v_repository int;
  w workspaces;
begin
  select * into w from workspaces x where x.id = p_workspace;
  if found then
    return case when w.fence >= p_fence and p_repository = (select r.name from repositories r where r.id = w.repository_id) then 'known'
                else 'foreign' end;
  end if;
  if not exists (select from hosts h where h.id = p_host and h.server_id = p_server) then return 'known'; end if;
  select r.id into v_repository from repositories r where r.name = p_repository and not r.removing;
  if v_repository is null or not p_marked
     or p_workspace > coalesce(pg_sequence_last_value(pg_get_serial_sequence('workspaces', 'id')), 0) then
    return 'foreign';
  end if;
  insert into workspaces (id, repository_id, host_id, state, path, fence, removing, guard_work) overriding system value
  values (p_workspace, v_repository, p_host, 'CLEANING', p_path, greatest(p_fence, 1) + 1, true, true)
      on conflict do nothing returning * into w;
  if w.id is null then return 'known'; end if;
  perform emit_workspace('WORKSPACE_CREATED', w, null, 'found without a row');
  return 'adopted';
end $$;
