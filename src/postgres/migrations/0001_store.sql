-- Owns the tables, and the invariants that no code can break: named constraints, and a trigger on workspaces.

create table meta (
  one bool primary key default true constraint meta_is_one_row check (one),
  store_id uuid not null default gen_random_uuid(),
  -- lease tokens are derived from it; shared by all servers
  token_key bytea not null default decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'),
  newest_revision bigint not null default 0,
  oldest_revision bigint not null default 1,
  constraint revisions_are_in_order check (oldest_revision between 1 and newest_revision + 1)
);
insert into meta default values;

create table hosts (
  id int generated always as identity primary key,
  name text not null,
  -- id of the data directory that this name was given to
  data_id uuid not null,
  server_id bigint,
  -- the row in servers that attends the tickets of the owner's callers
  desk_id bigint,
  -- since when its owner has reached the database without a break
  well_time timestamptz,
  seen_time timestamptz,
  removed bool not null default false,
  create_time timestamptz not null default clock_timestamp()
);
create unique index host_names_are_unique on hosts (name) where not removed;

-- one row for each server process; also of those that own nothing
create table servers (
  id bigint generated always as identity primary key,
  host_id int not null references hosts,
  start_time timestamptz not null default clock_timestamp(),
  seen_time timestamptz not null default clock_timestamp()
);

create table repositories (
  id int generated always as identity primary key,
  name text not null,
  url text not null,
  min_idle int not null,
  max_workspaces int not null,
  stable_path bool not null,
  credential text not null,
  labels jsonb not null,
  paused bool not null,
  removing bool not null default false,
  create_time timestamptz not null default clock_timestamp(),
  constraint repository_names_are_unique unique (name),
  constraint repository_urls_are_unique unique (url),
  constraint repository_name_is_one_path_segment check (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
  constraint pool_is_bounded check (max_workspaces >= 1 and min_idle between 0 and max_workspaces)
);

create table mirrors (
  repository_id int not null references repositories on delete cascade,
  host_id int not null references hosts,
  state text not null constraint mirror_state_is_known check (state in ('MIRRORING', 'READY', 'FAILED')),
  problem text not null default '',
  default_branch text not null default '',
  digest text not null default '',
  refs_version bigint not null default 0,
  fetch_time timestamptz,
  attempts int not null default 0,
  retry_time timestamptz,
  received_objects bigint not null default 0,
  total_objects bigint not null default 0,
  received_bytes bigint not null default 0,
  primary key (repository_id, host_id),
  constraint a_failed_mirror_has_a_problem check (state <> 'FAILED' or problem <> '')
);

create table workspaces (
  id bigint generated always as identity primary key,
  repository_id int not null references repositories,
  host_id int not null references hosts,
  state text not null constraint workspace_state_is_known
    check (state in ('PREPARING', 'IDLE', 'LEASED', 'CLEANING', 'QUARANTINED', 'RETIRED')),
  version bigint not null default 1,
  fence bigint not null default 1 constraint fences_begin_at_one check (fence >= 1),
  path text not null,
  -- where its files may still be, newest first, until the claimed work is finished
  old_paths text[] not null default '{}',
  commit_id text not null default '',
  head text not null default '',
  refs_version bigint not null default 0,
  -- the server that works on its files now
  worker bigint,
  claim_time timestamptz,
  attempts int not null default 0,
  retry_time timestamptz,
  -- CLEANING that ends in RETIRED
  removing bool not null default false,
  -- work that exists nowhere else must not be destroyed by the cleaning
  guard_work bool not null default false,
  problem text not null default '',
  idle_time timestamptz,
  create_time timestamptz not null default clock_timestamp(),
  constraint only_unfinished_workspaces_have_a_worker check (worker is null or state in ('PREPARING', 'CLEANING')),
  constraint idle_workspaces_have_an_idle_time check ((state = 'IDLE') = (idle_time is not null)),
  constraint a_quarantined_workspace_has_a_problem check (state <> 'QUARANTINED' or problem <> '')
) with (fillfactor = 80);
create unique index paths_are_unique on workspaces (host_id, path) where state <> 'RETIRED';
create index idle_by_time on workspaces (repository_id, host_id, idle_time desc) where state = 'IDLE';
create index idle_by_commit on workspaces (repository_id, host_id, commit_id, idle_time desc) where state = 'IDLE';
create index unfinished on workspaces (host_id) where state in ('PREPARING', 'CLEANING');
create index in_pool on workspaces (repository_id, host_id, state) where state <> 'RETIRED';

create table workspace_transitions (
  previous text not null,
  next text not null,
  primary key (previous, next)
);
insert into workspace_transitions (previous, next) values
  ('PREPARING', 'IDLE'), ('PREPARING', 'LEASED'), ('PREPARING', 'CLEANING'), ('PREPARING', 'QUARANTINED'), ('PREPARING', 'RETIRED'),
  ('IDLE', 'PREPARING'), ('IDLE', 'CLEANING'), ('IDLE', 'RETIRED'),
  ('LEASED', 'CLEANING'),
  ('CLEANING', 'IDLE'), ('CLEANING', 'QUARANTINED'), ('CLEANING', 'RETIRED'),
  ('QUARANTINED', 'CLEANING'), ('QUARANTINED', 'RETIRED');

create function guard_workspace() returns trigger language plpgsql as $$
begin
  if new.fence < old.fence then
    raise exception 'the fence of workspace % would fall', old.id using constraint = 'fence_never_falls';
  end if;
  if new.state <> old.state then
    if not exists (select from workspace_transitions t where t.previous = old.state and t.next = new.state) then
      raise exception 'workspace % cannot go from % to %', old.id, old.state, new.state using constraint = 'transition_is_legal';
    end if;
    new.version := old.version + 1;
  end if;
  return new;
end $$;
create trigger guard_workspace before update on workspaces for each row execute function guard_workspace();

create table leases (
  workspace_id bigint not null references workspaces on delete cascade,
  fence bigint not null,
  ticket_id bigint not null,
  caller text not null,
  holder text not null,
  revision text not null,
  commit_id text not null,
  labels jsonb not null,
  source text not null constraint source_is_known check (source in ('WARM', 'REUSED', 'CREATED')),
  fetch_time timestamptz,
  timings jsonb not null,
  ttl interval not null,
  acquire_time timestamptz not null default clock_timestamp(),
  expire_time timestamptz not null,
  end_time timestamptz,
  end_reason text constraint end_reason_is_known check (end_reason in ('RELEASED', 'EXPIRED', 'RECLAIMED', 'RESET', 'FAILED')),
  primary key (workspace_id, fence),
  constraint an_ended_lease_has_a_reason check ((end_time is null) = (end_reason is null))
) with (fillfactor = 70);
-- no index on expire_time: it would cost every heartbeat its in-place update
create unique index one_live_lease_per_workspace on leases (workspace_id) where end_time is null;

-- an Acquire: its place in the queue, then the memory of its request id
create table tickets (
  id bigint generated always as identity primary key,
  caller text not null,
  request_id text not null,
  -- the caller gave the request id; otherwise it is ours and only guards against a lost reply of the database
  kept bool not null,
  digest text not null,
  repository_id int not null references repositories on delete cascade,
  host_id int not null references hosts,
  spec jsonb not null,
  state text not null default 'OPEN' constraint ticket_state_is_known
    check (state in ('OPEN', 'WAITING', 'GRANTED', 'LEASED', 'FAILED')),
  workspace_id bigint,
  fence bigint,
  failure jsonb,
  -- an answer with the lease was written to a caller
  delivered bool not null default false,
  -- the server whose caller waits for it, or null since leave_time
  server_id bigint,
  leave_time timestamptz,
  create_time timestamptz not null default clock_timestamp(),
  constraint request_ids_are_unique unique (caller, kept, request_id),
  constraint granted_tickets_name_their_workspace
    check ((state in ('GRANTED', 'LEASED')) = (workspace_id is not null and fence is not null)),
  constraint failed_tickets_have_a_failure check ((state = 'FAILED') = (failure is not null))
);
create index tickets_in_line on tickets (repository_id, host_id, id) where state in ('OPEN', 'WAITING', 'GRANTED');

-- what was written and has no revision yet; columns as in events
create table outbox (
  id bigint generated always as identity primary key,
  kind text not null,
  repository text not null default '',
  host text not null default '',
  workspace_id bigint,
  version bigint not null default 0,
  lease_fence bigint,
  fence bigint not null default 0,
  holder text not null default '',
  caller text not null default '',
  labels jsonb not null default '{}',
  reason text,
  previous_state text,
  state text,
  detail text not null default '',
  event_time timestamptz not null default clock_timestamp()
);

create table events (
  revision bigint primary key,
  kind text not null,
  repository text not null,
  host text not null,
  workspace_id bigint,
  version bigint not null,
  lease_fence bigint,
  fence bigint not null,
  holder text not null,
  caller text not null,
  labels jsonb not null,
  reason text,
  previous_state text,
  state text,
  detail text not null,
  event_time timestamptz not null
);
