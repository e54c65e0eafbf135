-- Owns what forges have sent, until it is done and for some days after, and the mirrors that are to be fetched because of it.
-- 1. A delivery is there once: by the forge's own name of it, and by what was signed where the name was not.
-- 2. Of one lane, the oldest that is not done is the only one that can be claimed.

create table forge_deliveries (
  id bigint generated always as identity primary key,
  forge text not null,
  delivery_id text not null,
  digest text not null,
  lane text not null,
  -- {"forgeUrl", "subjectUrls", "event"}: our own words, nothing of the message as it came
  content jsonb not null,
  receive_time timestamptz not null default clock_timestamp(),
  -- row in servers of who works on it
  worker bigint,
  claim_time timestamptz,
  attempts int not null default 0,
  retry_time timestamptz not null default clock_timestamp(),
  problem text not null default '',
  done_time timestamptz,
  constraint done_deliveries_are_nobodys check (done_time is null or worker is null)
);
create unique index deliveries_are_stored_once on forge_deliveries (forge, delivery_id);
create unique index signed_messages_are_stored_once on forge_deliveries (forge, digest) where digest <> '';
create index deliveries_to_do on forge_deliveries (id) where done_time is null;
create index lanes_of_deliveries on forge_deliveries (lane, id) where done_time is null and lane <> '';
create index deliveries_by_age on forge_deliveries (receive_time);

-- p_deliveries: [{"forge", "id", "digest", "lane", "content"}]; answers the ids of those that are new
create function store_deliveries(p_deliveries jsonb) returns setof text language sql as $$
  insert into forge_deliveries (forge, delivery_id, digest, lane, content)
  select d ->> 'forge', d ->> 'id', d ->> 'digest', d ->> 'lane', d -> 'content'
    from jsonb_array_elements(p_deliveries) with ordinality as x (d, place) order by x.place
  on conflict do nothing returning forge || ' ' || delivery_id
$$;

create function claim_deliveries(p_server bigint, p_limit int) returns setof forge_deliveries language sql as $$
  with due as materialized (
    select x.id from forge_deliveries x
     where x.done_time is null and x.retry_time <= clock_timestamp()
       -- a claim whose reply was lost comes back by itself
       and (x.worker is null or x.claim_time < clock_timestamp() - interval '1 minute' or not is_alive(x.worker))
       and (x.lane = '' or not exists (select from forge_deliveries o where o.lane = x.lane and o.id < x.id and o.done_time is null))
     order by x.id limit p_limit for update skip locked)
  update forge_deliveries f set worker = p_server, claim_time = clock_timestamp(), attempts = f.attempts + 1
    from due where f.id = due.id
  returning f.*
$$;

create function postpone_delivery(p_id bigint, p_problem text) returns void language sql as $$
  update forge_deliveries f set worker = null, problem = p_problem,
         retry_time = clock_timestamp() + make_interval(secs => least(power(2, least(f.attempts, 10)), 300))
   where f.id = p_id and f.done_time is null
$$;

-- A host's mirror that is to be fetched; the row goes when it was.
create table mirror_refreshes (
  repository_id int not null,
  host_id int not null,
  wanted_time timestamptz not null default clock_timestamp(),
  attempts int not null default 0,
  retry_time timestamptz not null default clock_timestamp(),
  primary key (repository_id, host_id),
  foreign key (repository_id, host_id) references mirrors (repository_id, host_id) on delete cascade
);

create function want_refresh(p_repositories int[]) returns void language sql as $$
  insert into mirror_refreshes (repository_id, host_id)
  select m.repository_id, m.host_id from mirrors m where m.repository_id = any (p_repositories) and m.state = 'READY'
   order by m.repository_id, m.host_id
  on conflict (repository_id, host_id) do update
     set wanted_time = clock_timestamp(), attempts = 0, retry_time = least(mirror_refreshes.retry_time, clock_timestamp())
$$;

-- after about an hour of vain attempts it is left to whoever acquires next
create function postpone_refresh(p_repository int, p_host int, p_mark text) returns void language plpgsql as $$
begin
  update mirror_refreshes r set attempts = r.attempts + 1,
         retry_time = clock_timestamp() + make_interval(secs => least(5 * power(2, r.attempts), 900))
   where r.repository_id = p_repository and r.host_id = p_host and r.wanted_time::text = p_mark;
  delete from mirror_refreshes r where r.repository_id = p_repository and r.host_id = p_host and r.attempts > 10;
end $$;
