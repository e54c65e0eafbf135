-- Owns how often file work has failed. A claim that ended without a result says nothing about the workspace: the server was
-- killed or stopped, or the disk was full. Only failures that were stored count against it, and only in a row.

alter table workspaces add column failures int not null default 0;

-- false: the claim was lost. p_found: of kind verified, {"findings", "files"}
create or replace function finish_work(p_server bigint, p_workspace bigint, p_fence bigint, p_kind text, p_commit text, p_head text,
                                       p_refs_version bigint, p_path text, p_problem text, p_found jsonb) returns bool
language plpgsql as $$
declare
  w workspaces;
  v_previous text;
  v_kind text := p_kind;
  v_pristine bool;
begin
  select * into w from workspaces x where x.id = p_workspace and x.fence = p_fence and x.worker = p_server
     and x.state in ('PREPARING', 'CLEANING') for update;
  if not found then return false; end if;
  v_previous := w.state;
  update workspaces x set failures = case when p_kind = 'failed' then x.failures + 1 else 0 end where x.id = w.id returning * into w;
  if v_kind = 'failed' and w.failures >= 5 then v_kind := 'quarantined'; end if;
  if v_kind = 'verified' then
    v_pristine := p_found -> 'findings' = '[]';
    update workspaces x set verification = p_found || jsonb_build_object('fence', p_fence) where x.id = w.id;
  end if;
  if v_kind = 'verified' and (w.removing or not v_pristine) then
    -- without its commit nothing of it is used: the next claim makes it anew
    update workspaces x set worker = null, claim_time = null, verifying = false, attempts = 0, commit_id = '',
           problem = case when v_pristine then '' else 'verification: ' || (p_found -> 'findings' ->> 0) end
     where x.id = w.id;
  elsif v_kind = 'idle' and w.removing then
    -- Reclaim came while it was being cleaned: the next claim removes it
    update workspaces x set state = 'CLEANING', worker = null, claim_time = null, guard_work = false, commit_id = p_commit where x.id = w.id;
  elsif v_kind in ('idle', 'verified') then
    update workspaces x set state = 'IDLE', worker = null, claim_time = null, attempts = 0, retry_time = null, removing = false,
           guard_work = false, old_paths = '{}', problem = '', idle_time = clock_timestamp(), verify_time = clock_timestamp(),
           commit_id = case when v_kind = 'idle' then p_commit else x.commit_id end,
           head = case when v_kind = 'idle' then p_head else x.head end,
           refs_version = case when v_kind = 'idle' then p_refs_version else x.refs_version end
     where x.id = w.id returning * into w;
    perform emit_workspace('WORKSPACE_READY', w, v_previous, '');
  elsif v_kind = 'retired' then
    update workspaces x set state = 'RETIRED', worker = null, claim_time = null, old_paths = '{}' where x.id = w.id returning * into w;
    perform emit_workspace('WORKSPACE_RETIRED', w, v_previous, '');
  elsif v_kind = 'quarantined' then
    update workspaces x set state = 'QUARANTINED', worker = null, claim_time = null, attempts = 0, failures = 0, retry_time = null,
           removing = false, path = coalesce(nullif(p_path, ''), x.path), problem = p_problem
     where x.id = w.id returning * into w;
    perform emit_workspace('WORKSPACE_QUARANTINED', w, v_previous, p_problem);
  else
    update workspaces x set state = 'CLEANING', worker = null, claim_time = null, problem = p_problem,
           retry_time = clock_timestamp() + make_interval(secs => power(2, x.failures))
     where x.id = w.id returning * into w;
    if v_previous = 'PREPARING' then perform emit_workspace('WORKSPACE_CLAIMED', w, v_previous, p_problem); end if;
  end if;
  return true;
end $$;
