-- Owns moving what waits idle to the tip that a push has made, one workspace at a time.
-- 1. Nothing is moved while somebody waits for a workspace, nor more than what is kept ahead (min_idle).
-- 2. What is moved goes through cleaning as any other, and is verified before it is idle again.

-- null: nothing is to be moved now
create function move_idle(p_server bigint, p_host int, p_repository int, p_commit text) returns bigint language plpgsql as $$
declare
  r repositories;
  w workspaces;
  v_id bigint;
begin
  if not exists (select from hosts h where h.id = p_host and h.server_id = p_server) then return null; end if;
  select * into r from repositories x where x.id = p_repository and not x.paused and not x.removing;
  if not found
     or exists (select from tickets t where t.repository_id = r.id and t.host_id = p_host and t.state in ('OPEN', 'WAITING'))
     or (select count(*) from workspaces x where x.repository_id = r.id and x.host_id = p_host and x.state = 'IDLE'
            and x.commit_id = p_commit) >= r.min_idle then
    return null;
  end if;
  for v_id in select x.id from workspaces x where x.repository_id = r.id and x.host_id = p_host and x.state = 'IDLE' and x.commit_id <> p_commit
               -- in the order in which they would be handed out
               order by x.idle_time desc limit 50
  loop
    continue when not try_lock_workspace(v_id);
    select * into w from workspaces x where x.id = v_id and x.state = 'IDLE' for update skip locked;
    continue when not found;
    update workspaces x set state = 'CLEANING', fence = x.fence + 1, idle_time = null, attempts = 0, retry_time = null, removing = false
     where x.id = w.id and x.fence = w.fence returning * into w;
    perform emit_workspace('WORKSPACE_CLAIMED', w, 'IDLE', 'to be moved to what was pushed');
    return w.id;
  end loop;
  return null;
end $$;
