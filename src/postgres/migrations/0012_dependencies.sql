-- Owns what leases have of dependencies, and when what they installed may be kept.
-- 1. What a lease will have is stored with the claim that prepares it, and becomes the lease's when it is born.
-- 2. What a lease installed is kept at most once: dependencies_settled says that nothing (more) is.
-- 3. Nothing is kept of a workspace that was quarantined or reset since.

-- {"fence", "fingerprint", "state", "changedManifests", "cachePath", "wish"}; of the lease with that fence only
alter table workspaces add column dependencies jsonb;

alter table leases add column dependencies jsonb;
alter table leases add column dependencies_installed bool not null default false;
alter table leases add column dependencies_settled bool not null default true;
create index leases_with_dependencies on leases (workspace_id) where not dependencies_settled;

create function give_dependencies() returns trigger language plpgsql as $$
begin
  select w.dependencies - 'fence' into new.dependencies from workspaces w
   where w.id = new.workspace_id and (w.dependencies ->> 'fence')::bigint = new.fence;
  new.dependencies_settled := new.dependencies is null;
  new.dependencies_installed := coalesce(new.dependencies ->> 'state' = 'READY', false);
  return new;
end $$;
create trigger give_dependencies before insert on leases for each row execute function give_dependencies();

create function forget_dependencies() returns trigger language plpgsql as $$
begin
  update leases l set dependencies_settled = true where l.workspace_id = new.id and not l.dependencies_settled;
  return null;
end $$;
create trigger forget_dependencies after update of state on workspaces for each row
  when (new.state in ('QUARANTINED', 'RETIRED') and new.state is distinct from old.state) execute function forget_dependencies();

-- false: the claim was lost
create function offer_dependencies(p_server bigint, p_workspace bigint, p_fence bigint, p_dependencies jsonb) returns bool
language plpgsql as $$
begin
  update workspaces x set dependencies = p_dependencies || jsonb_build_object('fence', p_fence)
   where x.id = p_workspace and x.fence = p_fence and x.worker = p_server and x.state = 'PREPARING';
  return found;
end $$;

create function mark_dependencies(p_workspace bigint, p_fence bigint) returns void language sql as $$
  update leases l set dependencies_installed = true
   where l.workspace_id = p_workspace and l.fence = p_fence and l.end_time is null and l.dependencies is not null
     and not l.dependencies_installed
$$;

-- the newest lease of a claimed workspace, if what it installed is still to be kept
create function begin_keeping(p_server bigint, p_workspace bigint, p_fence bigint) returns setof leases language plpgsql as $$
declare
  w workspaces;
begin
  select * into w from workspaces x
   where x.id = p_workspace and x.fence = p_fence and x.worker = p_server and x.state = 'CLEANING' for update;
  if not found or w.removing then return; end if;
  return query select l.* from last_lease(p_workspace) l
   where l.dependencies_installed and not l.dependencies_settled and l.end_reason in ('RELEASED', 'EXPIRED', 'RECLAIMED');
end $$;

create function settle_dependencies(p_server bigint, p_workspace bigint, p_fence bigint) returns void language sql as $$
  update leases l set dependencies_settled = true
    from workspaces w
   where l.workspace_id = p_workspace and not l.dependencies_settled and l.end_time is not null
     and w.id = p_workspace and w.fence = p_fence and w.worker = p_server and w.state = 'CLEANING'
$$;

create or replace view workspace_rows as
  select w.id, r.name as repository, h.name as host, w.path, w.state, w.version, w.fence, w.commit_id, w.head, w.problem,
         w.create_time, w.idle_time, w.verify_time,
         case when w.state = 'LEASED' and (w.dependencies ->> 'fence')::bigint = w.fence then w.dependencies ->> 'fingerprint' else '' end
           as fingerprint
    from workspaces w
    join repositories r on r.id = w.repository_id
    join hosts h on h.id = w.host_id;
