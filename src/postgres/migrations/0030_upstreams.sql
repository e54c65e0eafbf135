-- Owns that nothing of a repository's old upstream is taken for the new one's: a mirror whose upstream has moved has a new version, and counts
-- as never fetched until the new one was asked.

drop function update_mirror(int, int, text, text, text, text, interval);
-- p_url: what was asked; null if nothing was. What was found at an upstream that is the repository's no more is kept, and counts as never fetched.
create function update_mirror(p_repository int, p_host int, p_state text, p_problem text, p_default_branch text, p_digest text,
                              p_fetched_ago interval, p_url text) returns void
language plpgsql as $$
declare
  m mirrors;
  v_name text;
  v_url text;
  v_digest text := p_digest;
  v_old bool;
  v_host text;
begin
  insert into mirrors (repository_id, host_id, state) values (p_repository, p_host, 'MIRRORING') on conflict do nothing;
  select * into m from mirrors x where x.repository_id = p_repository and x.host_id = p_host for update;
  select r.name, r.url into v_name, v_url from repositories r where r.id = p_repository;
  v_old := p_url is not null and p_url <> v_url;
  if v_old then v_digest := ''; end if;
  select h.name into v_host from hosts h where h.id = p_host;
  update mirrors x set state = p_state,
         -- another attempt keeps what is known of the last one until it is over
         problem = case when p_state = 'MIRRORING' then x.problem else p_problem end,
         default_branch = case when p_state = 'READY' then p_default_branch else x.default_branch end,
         digest = case p_state when 'READY' then v_digest when 'MIRRORING' then '' else x.digest end,
         refs_version = x.refs_version + case when p_state = 'READY' and x.digest <> v_digest then 1 else 0 end,
         fetch_time = case when v_old then null when p_fetched_ago is null then x.fetch_time
                           else greatest(x.fetch_time, clock_timestamp() - p_fetched_ago) end,
         attempts = case p_state when 'FAILED' then x.attempts + 1 when 'READY' then 0 else x.attempts end,
         retry_time = case when p_state = 'FAILED' then clock_timestamp() + make_interval(secs => least(5 * power(2, least(x.attempts, 10)), 900)) end,
         received_objects = 0, total_objects = 0, received_bytes = 0
   where x.repository_id = p_repository and x.host_id = p_host;
  if p_state = 'READY' and m.state <> 'READY' then
    perform emit_repository('REPOSITORY_READY', v_name, v_host, '');
  elsif p_state = 'READY' and m.digest <> v_digest then
    perform emit_repository('MIRROR_CHANGED', v_name, v_host, '');
  elsif p_state = 'FAILED' and m.problem <> p_problem then
    perform emit_repository('REPOSITORY_FAILED', v_name, v_host, p_problem);
  end if;
end $$;
