-- Owns what stands against removing a repository, and how the first making of its mirror is told.

drop function remove_repository(text, bool);
-- outcome: removing, unknown, in-use. What stands against it: live leases, quarantined workspaces, salvages that have not expired.
create function remove_repository(p_name text, p_force bool, out outcome text, out leases int, out quarantined int, out salvages int)
language plpgsql as $$
declare
  r repositories;
  v record;
begin
  select * into r from repositories x where x.name = p_name for update;
  if not found then outcome := 'unknown'; return; end if;
  select count(*) filter (where w.state = 'LEASED'), count(*) filter (where w.state = 'QUARANTINED') into leases, quarantined
    from workspaces w where w.repository_id = r.id;
  select count(*) into salvages from salvages s
   where s.repository = r.name and s.removal is null and s.expire_time > clock_timestamp();
  -- what is being removed already is not asked about again
  if leases + quarantined + salvages > 0 and not p_force and not r.removing then outcome := 'in-use'; return; end if;
  update repositories set removing = true where id = r.id;
  update tickets set state = 'FAILED', workspace_id = null, fence = null,
         failure = jsonb_build_object('reason', 'REPOSITORY_NOT_FOUND', 'message', 'the repository was removed', 'metadata', '{}'::jsonb)
   where repository_id = r.id and state in ('OPEN', 'WAITING');
  for v in select l.workspace_id, l.fence from leases l join workspaces w on w.id = l.workspace_id
            where w.repository_id = r.id and l.end_time is null order by l.workspace_id
  loop
    perform end_lease(v.workspace_id, v.fence, 'RECLAIMED', true, false);
  end loop;
  for v in select w.id from workspaces w where w.repository_id = r.id and w.state in ('IDLE', 'PARKED', 'QUARANTINED') order by w.id
  loop
    perform reclaim_workspace(v.id);
  end loop;
  outcome := 'removing';
end $$;

-- How far the first making of a mirror is; an event when the upstream has told how much there is, and at every tenth of it.
create function report_progress(p_repository int, p_host int, p_received bigint, p_total bigint, p_bytes bigint) returns void
language plpgsql as $$
declare
  m mirrors;
  v_name text;
begin
  select * into m from mirrors x where x.repository_id = p_repository and x.host_id = p_host and x.state <> 'READY' for update;
  if not found then return; end if;
  update mirrors x set received_objects = p_received, total_objects = p_total, received_bytes = p_bytes
   where x.repository_id = p_repository and x.host_id = p_host;
  if p_total <= 0 or (m.total_objects > 0 and p_received * 10 / p_total <= m.received_objects * 10 / p_total) then return; end if;
  select r.name into v_name from repositories r where r.id = p_repository;
  perform emit_repository('MIRROR_PROGRESS', v_name, (select h.name from hosts h where h.id = p_host),
                          format('%s of %s objects, %s bytes', p_received, p_total, p_bytes));
end $$;
