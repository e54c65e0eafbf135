-- Owns the one spelling of subjects: a project's name is lower-case in their URLs, as forges know it in any case. What was stored
-- before, as its caller had spelled it, is brought to it.

create function plain_subject(p_subject jsonb) returns jsonb language sql immutable as $$
  select p_subject || jsonb_build_object('url',
    replace(p_subject ->> 'url', '/' || (p_subject ->> 'project') || '/', '/' || lower(p_subject ->> 'project') || '/'))
$$;

-- of two spellings that a forge has told of, the later word counts
with spellings as (
  select distinct x.subject ->> 'url' as spelled, plain_subject(x.subject) ->> 'url' as plain
    from (select subject from sessions union all select subject from workspaces) x where x.subject is not null
), gone as (
  delete from subjects u using spellings s where u.url = s.spelled and s.spelled <> s.plain
  returning s.plain, u.state, u.check_time, u.close_time, u.recheck, u.ask_time
)
insert into subjects as x (url, state, check_time, close_time, recheck, ask_time)
select distinct on (plain) plain, state, check_time, close_time, recheck, ask_time from gone order by plain, check_time desc
    on conflict (url) do update
   set state = excluded.state, check_time = excluded.check_time, close_time = excluded.close_time, recheck = excluded.recheck,
       ask_time = excluded.ask_time
 where excluded.check_time > x.check_time;

update sessions x set subject = plain_subject(x.subject) where x.subject ->> 'url' <> plain_subject(x.subject) ->> 'url';
update leases x set subject = plain_subject(x.subject) where x.subject ->> 'url' <> plain_subject(x.subject) ->> 'url';
update workspaces x set subject = plain_subject(x.subject) where x.subject ->> 'url' <> plain_subject(x.subject) ->> 'url';
update tickets x set spec = jsonb_set(x.spec, '{subject}', plain_subject(x.spec -> 'subject'))
 where x.spec #>> '{subject,url}' <> plain_subject(x.spec -> 'subject') ->> 'url';
update forge_deliveries x
   set content = jsonb_set(x.content, '{subjectUrls}', (select coalesce(jsonb_agg(replace(u, '/' || project || '/', '/' || lower(project) || '/')), '[]')
                                                          from jsonb_array_elements_text(x.content -> 'subjectUrls') u,
                                                               (select x.content #>> '{event,project}') p (project)))
 where x.done_time is null and x.content #>> '{event,project}' <> lower(x.content #>> '{event,project}');

drop function plain_subject(jsonb);
