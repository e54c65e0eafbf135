-- Owns what a lease of a binding is told.

drop function activate_ticket(bigint, bigint, bigint, bigint, text, text, bigint, text, timestamptz, jsonb);
drop view grant_rows;
create or replace view lease_rows as
  select l.workspace_id as lease_workspace, l.fence as lease_fence, r.name as lease_repository, h.name as lease_host,
         l.revision, l.commit_id as lease_commit, l.holder, l.caller, l.labels, l.source, l.fetch_time as lease_fetch_time, l.timings,
         (extract(epoch from l.ttl) * 1000)::float8 as ttl_ms,
         case when l.end_time is not null then 0
              else greatest(extract(epoch from l.expire_time - clock_timestamp()) * 1000, 0) end::float8 as remaining_ms,
         l.acquire_time, l.expire_time, l.end_time, l.end_reason, l.binding as lease_binding, l.resolved_commit, l.lost_salvage
    from leases l
    join workspaces w on w.id = l.workspace_id
    join repositories r on r.id = w.repository_id
    join hosts h on h.id = w.host_id;

-- idle_time: since when nobody has it
create or replace view workspace_rows as
  select w.id, r.name as repository, h.name as host, w.path, w.state, w.version, w.fence, w.commit_id, w.head, w.problem,
         w.create_time, coalesce(w.idle_time, w.park_time) as idle_time, w.verify_time,
         case when w.state = 'LEASED' and (w.dependencies ->> 'fence')::bigint = w.fence then w.dependencies ->> 'fingerprint' else '' end
           as fingerprint,
         w.binding, w.bound_caller
    from workspaces w
    join repositories r on r.id = w.repository_id
    join hosts h on h.id = w.host_id;

create view grant_rows as
  select w.id, l.lease_repository as repository, l.lease_host as host, w.path, w.state, w.version, w.fence, w.commit_id, w.head,
         w.problem, w.create_time, w.idle_time, w.verify_time, w.binding, l.*
    from lease_rows l join workspaces w on w.id = l.lease_workspace;

-- CREATED: the owner has made it and compared it just now. BOUND: its files, and where they stand, are as they were parked.
create function activate_ticket(p_server bigint, p_ticket bigint, p_workspace bigint, p_fence bigint, p_commit text, p_head text,
                                           p_refs_version bigint, p_source text, p_fetch_time timestamptz, p_timings jsonb)
returns setof grant_rows
language plpgsql as $$
declare
  t tickets;
  w workspaces;
  l leases;
  v_ttl interval;
  v_binding text;
  v_lost text := '';
begin
  perform lock_workspace(p_workspace);
  select * into w from workspaces x where x.id = p_workspace for update;
  select * into t from tickets x where x.id = p_ticket for update;
  -- LEASED by us: the reply to an earlier call was lost
  if t.state = 'LEASED' and t.workspace_id = p_workspace and t.fence = p_fence then
    return query select * from grant_rows g where g.id = p_workspace and g.lease_fence = p_fence;
    return;
  end if;
  if w.state <> 'PREPARING' or w.fence <> p_fence or w.worker is distinct from p_server
     or t.id is null or t.state <> 'GRANTED' or t.workspace_id <> p_workspace or t.fence <> p_fence or not is_alive(t.server_id) then
    return;
  end if;
  v_binding := coalesce(t.spec ->> 'binding', '');
  if v_binding <> '' and p_source <> 'BOUND' then
    v_lost := lost_salvage((select r.name from repositories r where r.id = w.repository_id), t.caller, v_binding);
  end if;
  v_ttl := make_interval(secs => (t.spec ->> 'ttlMs')::float8 / 1000);
  update workspaces x set state = 'LEASED', worker = null, claim_time = null, attempts = 0, problem = '', guard_work = true,
         commit_id = case when p_source = 'BOUND' then x.commit_id else p_commit end,
         head = case when p_source = 'BOUND' then x.head else p_head end,
         refs_version = case when p_source = 'BOUND' then x.refs_version else p_refs_version end,
         verify_time = case when p_source = 'CREATED' then clock_timestamp() else x.verify_time end
   where x.id = p_workspace and x.fence = p_fence returning * into w;
  insert into leases (workspace_id, fence, ticket_id, caller, holder, revision, commit_id, labels, source, fetch_time, timings, ttl, expire_time,
                      binding, resolved_commit, lost_salvage)
  values (p_workspace, p_fence, t.id, t.caller, t.spec ->> 'holder', t.spec ->> 'revision', w.commit_id, t.spec -> 'labels', p_source,
          p_fetch_time, p_timings, v_ttl, clock_timestamp() + v_ttl, v_binding, p_commit, v_lost) returning * into l;
  update tickets set state = 'LEASED' where id = t.id;
  perform emit_lease('LEASE_ACQUIRED', w, 'PREPARING', l);
  if t.spec ? 'restore' then
    insert into outbox (kind, repository, host, workspace_id, version, lease_fence, fence, holder, caller, labels, previous_state, state,
                        salvage_id)
    select 'SALVAGE_RESTORED', r.name, h.name, w.id, w.version, l.fence, l.fence, l.holder, l.caller, l.labels, w.state, w.state,
           t.spec #>> '{restore,salvageId}'
      from repositories r, hosts h where r.id = w.repository_id and h.id = w.host_id;
  end if;
  return query select * from grant_rows g where g.id = p_workspace and g.lease_fence = p_fence;
end $$;
