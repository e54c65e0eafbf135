-- Owns how events are written and numbered.
-- 1. An event is written by the transaction that makes the change, after that change has locked what it changes;
--    so the outbox has the events of one workspace in their order.
-- 2. publish_events gives the revisions, one publisher at a time, without gaps.

create function emit_workspace(p_kind text, p_workspace workspaces, p_previous text, p_detail text) returns void language sql as $$
  insert into outbox (kind, repository, host, workspace_id, version, fence, previous_state, state, detail)
  select p_kind, r.name, h.name, p_workspace.id, p_workspace.version, p_workspace.fence, p_previous, p_workspace.state, p_detail
    from repositories r, hosts h where r.id = p_workspace.repository_id and h.id = p_workspace.host_id
$$;

create function emit_lease(p_kind text, p_workspace workspaces, p_previous text, p_lease leases) returns void language sql as $$
  insert into outbox (kind, repository, host, workspace_id, version, lease_fence, fence, holder, caller, labels, reason, previous_state, state)
  select p_kind, r.name, h.name, p_workspace.id, p_workspace.version, p_lease.fence, p_lease.fence, p_lease.holder, p_lease.caller,
         p_lease.labels, p_lease.end_reason, p_previous, p_workspace.state
    from repositories r, hosts h where r.id = p_workspace.repository_id and h.id = p_workspace.host_id
$$;

create function publish_events(p_limit int, out oldest bigint, out newest bigint, out published bigint) language plpgsql as $$
begin
  perform pg_advisory_xact_lock(70, 1);
  select m.oldest_revision, m.newest_revision into oldest, newest from meta m;
  with taken as (
    delete from outbox where id in (select id from outbox order by id limit p_limit) returning *
  ), numbered as (
    insert into events (revision, kind, repository, host, workspace_id, version, lease_fence, fence, holder, caller,
                        labels, reason, previous_state, state, detail, event_time)
    select newest + row_number() over (order by t.id), t.kind, t.repository, t.host, t.workspace_id, t.version, t.lease_fence, t.fence,
           t.holder, t.caller, t.labels, t.reason, t.previous_state, t.state, t.detail, t.event_time
      from taken t returning 1
  )
  select count(*) into published from numbered;
  if published > 0 then
    update meta set newest_revision = newest + published returning newest_revision into newest;
  end if;
end $$;

-- forgets whole prefixes only, so that what is kept has no gaps
create function trim_events(p_retention interval, p_limit int) returns int language plpgsql as $$
declare
  v_keep bigint;
  v_gone int;
begin
  perform pg_advisory_xact_lock(70, 1);
  select least(coalesce((select min(e.revision) from events e where e.event_time >= clock_timestamp() - p_retention), m.newest_revision + 1),
               m.oldest_revision + p_limit) into v_keep from meta m;
  delete from events where revision < v_keep;
  get diagnostics v_gone = row_count;
  update meta set oldest_revision = v_keep where oldest_revision < v_keep and v_keep <= newest_revision + 1;
  return v_gone;
end $$;
