-- Owns the sweep: what it looks at, how it drops sessions and workspaces, and that there is one at a time in the fleet.
-- 1. A session is dropped for its subject only if that was seen closed twice, the grace apart, since the session began; it is compared
--    again in the statement that drops it. One with a live lease is never dropped for its age.
-- 2. A dropped session is CLOSED, its backend session ids are gone, its lease has ended and its workspace is given to its host's
--    owner for cleaning, all in one transaction. Files are the owner's, who salvages first.
-- 3. A workspace that was touched since it was looked at (by its fence) is left alone.
-- Lock order as everywhere: workspace lock, workspace row, lease row, session row.

create table sweeps (
  id bigint generated always as identity primary key,
  -- the row in servers of the process that sweeps
  server_id bigint not null,
  dry_run bool not null,
  start_time timestamptz not null default clock_timestamp(),
  -- one that nobody has said anything of for a while is over
  seen_time timestamptz not null default clock_timestamp(),
  end_time timestamptz,
  -- null: it was broken off
  report jsonb,
  constraint only_ended_sweeps_have_a_report check (report is null or end_time is not null)
);
create index closed_sessions_by_workspace on sessions (workspace_id) where state = 'CLOSED';
create unique index one_sweep_at_a_time on sweeps ((true)) where end_time is null;

-- outcome: begun, or running (then of that one)
create function begin_sweep(p_server bigint, p_dry_run bool, out outcome text, out sweep bigint, out of_dry_run bool) language plpgsql as $$
declare
  w sweeps;
begin
  perform pg_advisory_xact_lock(70, 4);
  select * into w from sweeps x where x.end_time is null;
  if found and w.seen_time > clock_timestamp() - interval '10 seconds' then
    outcome := 'running'; sweep := w.id; of_dry_run := w.dry_run;
    return;
  end if;
  update sweeps x set end_time = clock_timestamp() where x.end_time is null;
  insert into sweeps (server_id, dry_run) values (p_server, p_dry_run) returning id into sweep;
  outcome := 'begun'; of_dry_run := p_dry_run;
end $$;

-- false: another one took its place, or it is over
create function keep_sweep(p_sweep bigint) returns bool language plpgsql as $$
begin
  update sweeps x set seen_time = clock_timestamp() where x.id = p_sweep and x.end_time is null;
  return found;
end $$;

-- p_report null: broken off. p_retention: how long closed sessions are kept
create function finish_sweep(p_sweep bigint, p_report jsonb, p_retention interval) returns bool language plpgsql as $$
declare
  w sweeps;
begin
  update sweeps x set end_time = clock_timestamp(), report = p_report where x.id = p_sweep and x.end_time is null returning * into w;
  if not found then return false; end if;
  if p_report is null or w.dry_run then return true; end if;
  insert into outbox (kind, detail) values ('SWEEP_FINISHED', p_report ->> 'summary');
  delete from sweeps x where x.id < p_sweep - 100;
  delete from sessions s where s.state = 'CLOSED' and s.close_time < clock_timestamp() - p_retention;
  delete from subjects u where not is_about(u.url) and u.check_time < clock_timestamp() - interval '1 day'
     and not exists (select from sessions s where s.subject ->> 'url' = u.url and s.subject is not null);
  return true;
end $$;

-- Open sessions, and parked workspaces without one. due: MAX_AGE or ORPHANED where nothing but a subject could stand against it.
-- A parked one has an age from when nobody wanted it any more. ripe: if its subject is seen closed now, that is the second time.
-- workspace: what would go with a session.
create function sweep_entries(p_age interval, p_orphan_age interval, p_grace interval)
returns table (kind text, id bigint, workspace bigint, fence bigint, repository text, subject jsonb, due text, ripe bool)
language sql stable as $$
  select 'SESSION', s.id,
         case when s.state = 'ACTIVE' then s.workspace_id
              else (select w.id from workspaces w join repositories r on r.id = w.repository_id
                     where r.name = s.repository and w.bound_caller = s.caller and w.binding = s.binding and w.binding <> ''
                       and w.state in ('LEASED', 'PARKED')) end,
         s.fence, s.repository, s.subject,
         case when s.state <> 'ACTIVE' and s.active_time + p_age <= clock_timestamp() then 'MAX_AGE' else '' end,
         case when u.close_time is null then p_grace <= '0' else greatest(u.close_time, s.create_time) + p_grace <= clock_timestamp() end
    from sessions s
    left join subjects u on u.url = s.subject ->> 'url'
   where s.state <> 'CLOSED'
  union all
  select 'WORKSPACE', w.id, w.id, w.fence, r.name, coalesce(w.subject, c.subject),
         case when greatest(w.park_time, c.close_time) + p_age <= clock_timestamp() then 'MAX_AGE'
              when greatest(w.park_time, c.close_time) + p_orphan_age <= clock_timestamp() then 'ORPHANED' else '' end,
         case when u.close_time is null then p_grace <= '0' else u.close_time + p_grace <= clock_timestamp() end
    from workspaces w
    join repositories r on r.id = w.repository_id
    left join lateral (select x.subject, x.close_time from sessions x
                        where x.workspace_id = w.id and x.state = 'CLOSED' and x.caller = w.bound_caller and x.binding = w.binding
                        order by x.close_time desc limit 1) c on true
    left join subjects u on u.url = coalesce(w.subject, c.subject) ->> 'url'
   where w.state = 'PARKED'
     and not exists (select from sessions s where s.repository = r.name and s.caller = w.bound_caller and s.binding = w.binding
                        and s.binding <> '' and s.state <> 'CLOSED')
   order by 1, 2
$$;

create function is_confirmed(p_url text, p_since timestamptz, p_grace interval) returns bool language sql as $$
  select exists (select from subjects u where u.url = p_url and u.close_time is not null
                    and u.check_time - greatest(u.close_time, p_since) >= p_grace for share)
$$;

-- outcome: dropped; gone (it is closed); live (a lease stands against it); kept (nothing is, or is any more, against it);
-- busy (a lease of it is just beginning). given_up: the workspace that goes with it
create function drop_session(p_session bigint, p_reason text, p_grace interval, p_age interval, out outcome text, out given_up bigint)
language plpgsql as $$
declare
  s sessions;
  w workspaces;
  l leases;
  v_id bigint;
begin
  select * into s from sessions x where x.id = p_session;
  if not found or s.state = 'CLOSED' then outcome := 'gone'; return; end if;
  -- what its binding has now, or else what its lease had
  v_id := coalesce((select x.id from workspaces x join repositories r on r.id = x.repository_id
                     where r.name = s.repository and x.bound_caller = s.caller and x.binding = s.binding and x.binding <> ''), s.workspace_id);
  perform lock_workspace(v_id);
  select * into w from workspaces x where x.id = v_id for update;
  select * into l from leases x where x.workspace_id = v_id and x.end_time is null for update;
  select * into s from sessions x where x.id = p_session for update;
  if s.state = 'CLOSED' then outcome := 'gone'; return; end if;
  -- another's by now
  if l.workspace_id is not null and (l.workspace_id, l.fence) <> (s.workspace_id, s.fence)
     and (s.binding = '' or l.binding <> s.binding or l.caller <> s.caller) then
    l := null;
    w := null;
  end if;
  if (w.id, w.fence) <> (s.workspace_id, s.fence) and (s.binding = '' or w.binding <> s.binding or w.bound_caller <> s.caller) then
    w := null;
  end if;
  if (s.state = 'ACTIVE' and l.workspace_id is null) or w.state = 'PREPARING' then outcome := 'busy'; return; end if;
  if p_reason = 'MAX_AGE' then
    if l.workspace_id is not null then outcome := 'live'; return; end if;
    if s.active_time + p_age > clock_timestamp() then outcome := 'kept'; return; end if;
  elsif not is_confirmed(s.subject ->> 'url', s.create_time, p_grace) then
    outcome := 'kept';
    return;
  end if;
  outcome := 'dropped';
  if l.workspace_id is not null then
    -- a lease of the binding that is about something else is not this session's
    if (l.workspace_id, l.fence) = (s.workspace_id, s.fence) or l.subject is null or l.subject ->> 'url' = s.subject ->> 'url' then
      perform end_lease(l.workspace_id, l.fence, 'FORGE_CLOSED', false, false);
      given_up := l.workspace_id;
    end if;
  elsif w.state = 'PARKED' then
    update workspaces x set state = 'CLEANING', fence = x.fence + 1, removing = false, attempts = 0, retry_time = null
     where x.id = w.id and x.fence = w.fence returning * into w;
    perform emit_workspace('WORKSPACE_CLAIMED', w, 'PARKED', 'its session was dropped');
    given_up := w.id;
  end if;
  perform close_session(s.id, p_reason);
end $$;

-- Gives a parked workspace up for good. False: it was touched since, or, unless p_any, has an open session again.
create function drop_parked(p_workspace bigint, p_fence bigint, p_any bool, p_why text) returns bool language plpgsql as $$
declare
  w workspaces;
begin
  perform lock_workspace(p_workspace);
  select * into w from workspaces x where x.id = p_workspace and x.fence = p_fence and x.state = 'PARKED' for update;
  if not found then return false; end if;
  if not p_any and exists (select from sessions s join repositories r on r.name = s.repository
                            where r.id = w.repository_id and s.caller = w.bound_caller and s.binding = w.binding and s.binding <> '' and s.state <> 'CLOSED') then
    return false;
  end if;
  update workspaces x set state = 'CLEANING', fence = x.fence + 1, removing = true, attempts = 0, retry_time = null
   where x.id = w.id returning * into w;
  perform emit_workspace('WORKSPACE_CLAIMED', w, 'PARKED', p_why);
  return true;
end $$;

-- what is parked of a branch: acquired by its name, or with it checked out by us
create function parked_of_branch(p_repository text, p_branch text) returns table (workspace bigint, fence bigint, subject jsonb)
language sql stable as $$
  select w.id, w.fence, coalesce(s.subject, w.subject)
    from workspaces w
    join repositories r on r.id = w.repository_id
    left join lateral (select x.revision from leases x where x.workspace_id = w.id order by x.fence desc limit 1) l on true
    left join sessions s on s.repository = r.name and s.caller = w.bound_caller and s.binding = w.binding and s.binding <> '' and s.state <> 'CLOSED'
   where r.name = p_repository and w.state = 'PARKED'
     and ('refs/heads/' || p_branch in (w.head, l.revision) or l.revision = p_branch)
   order by w.id
$$;
