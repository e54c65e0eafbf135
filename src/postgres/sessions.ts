/** Implements the port `SessionStore` over migrations/0017_sessions.sql, 0018_session_calls.sql and 0033_callers.sql. */
import type { LeaseKey } from "../domain/lease.js";
import type { ChangeInput, Session } from "../domain/session.js";
import type { Subject } from "../domain/subject.js";
import type {
  AgentUpdate,
  ChangeFilter,
  Refused,
  SessionClaim,
  SessionFilter,
  SessionStore,
} from "../ports/session-store.js";
import { type Json, only, run, type Sql } from "./client.js";
import { workspaceNumber } from "./rows.js";
import { type ChangeRow, type SessionRow, sessionNumber, toChange, toSession } from "./session-rows.js";

export class PostgresSessions implements SessionStore {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async open(
    key: LeaseKey,
    subject: Subject | undefined,
    labels: Readonly<Record<string, string>>,
    caller?: string,
  ): ReturnType<SessionStore["open"]> {
    const about = subject ? this.#sql.json(subject as unknown as Json) : null;
    const row = only(
      await run(
        () => this.#sql<{ outcome: "opened" | "reopened" | "lost" | "foreign" | "mismatch"; session: string | null }[]>`
          select outcome, session from open_session(${workspaceNumber(key.workspaceId)}, ${String(key.fence)}, ${caller ?? null},
            ${about}, ${this.#sql.json(labels)})`,
      ),
    );
    if (row.outcome === "lost" || row.outcome === "foreign") return { kind: row.outcome };
    const session = await this.find(`n${row.session}`);
    if (!session) throw new Error("a session that was opened is not there");
    return { kind: row.outcome, session };
  }

  async attach(
    claim: SessionClaim,
    agent: string,
    backend: string,
    author: { readonly name: string; readonly email: string } | undefined,
  ): Promise<"attached" | "already" | "backend" | Refused> {
    const { session, caller, workspace, fence } = columns(claim);
    const row = only(
      await run(
        () => this.#sql<{ outcome: "attached" | "already" | "backend" | Refused }[]>`
          select attach_agent(${session}, ${caller}, ${workspace}, ${fence}, ${agent}, ${backend},
            ${author ? this.#sql.json(author) : null}) as outcome`,
      ),
    );
    return row.outcome;
  }

  async update(claim: SessionClaim, agent: string, update: AgentUpdate): ReturnType<SessionStore["update"]> {
    const { session, caller, workspace, fence } = columns(claim);
    const { expectedVersion, backendSessionId = null, state = null, problem } = update;
    const row = only(
      await run(
        () => this.#sql<{ outcome: Awaited<ReturnType<SessionStore["update"]>> }[]>`
          select update_agent(${session}, ${caller}, ${workspace}, ${fence}, ${agent}, ${String(expectedVersion)},
            ${backendSessionId}, ${state}, ${problem}) as outcome`,
      ),
    );
    return row.outcome;
  }

  async record(
    claim: SessionClaim,
    agent: string,
    requestId: string,
    digest: string,
    changes: readonly ChangeInput[],
  ): ReturnType<SessionStore["record"]> {
    const { session, caller, workspace, fence } = columns(claim);
    const row = only(
      await run(
        () => this.#sql<
          { outcome: "recorded" | "again" | "reused" | "agent" | Refused; first: string; last: string }[]
        >`
          select * from record_changes(${session}, ${caller}, ${workspace}, ${fence}, ${agent}, ${requestId}, ${digest},
            ${this.#sql.json(changes as unknown as Json)})`,
      ),
    );
    if (row.outcome !== "recorded" && row.outcome !== "again") return { kind: row.outcome };
    const rows = await run(
      () => this.#sql<ChangeRow[]>`
        select * from session_changes where session_id = ${session} and sequence between ${row.first} and ${row.last} order by sequence`,
    );
    return { kind: "recorded", changes: rows.map(toChange) };
  }

  async close(
    sessionId: string,
    right: { readonly caller?: string; readonly key?: LeaseKey; readonly force: boolean },
  ): ReturnType<SessionStore["close"]> {
    const { caller = null, key, force } = right;
    const workspace = key ? workspaceNumber(key.workspaceId) : null;
    const row = only(
      await run(
        () => this.#sql<{ outcome: "closed" | "already" | "unknown" | "lost" }[]>`
          select finish_session(${sessionNumber(sessionId)}, ${caller}, ${workspace}, ${key ? String(key.fence) : null}, ${force}) as outcome`,
      ),
    );
    return row.outcome;
  }

  async find(sessionId: string, caller?: string): Promise<Session | undefined> {
    const [row] = await run(
      () => this.#sql<SessionRow[]>`
        select * from session_rows where id = ${sessionNumber(sessionId)} and (${caller ?? null}::text is null or caller = ${caller ?? null}::text)`,
    );
    return row && toSession(row);
  }

  async list(filter: SessionFilter, after: string, limit: number): Promise<readonly Session[]> {
    const { repository, binding, subject, agent, host, states, inactiveForMs, caller } = filter;
    const rows = await run(
      () => this.#sql<SessionRow[]>`
        select * from session_rows s
         where s.id > ${sessionNumber(after)} and s.state = any (${`{${states.join(",")}}`}::text[])
           and (${repository || null}::text is null or s.repository = ${repository || null}::text)
           and (${binding || null}::text is null or s.binding = ${binding || null}::text)
           and (${subject || null}::text is null or s.subject ->> 'url' in (${subject || null}::text, lower(${subject || null}::text)))
           and (${agent || null}::text is null
                or exists (select from session_agents a where a.session_id = s.id and a.agent = ${agent || null}::text))
           and (${host || null}::text is null or s.host = ${host || null}::text)
           and (${caller ?? null}::text is null or s.caller = ${caller ?? null}::text)
           and s.active_time <= clock_timestamp() - make_interval(secs => ${(inactiveForMs ?? 0) / 1000}::float8)
         order by s.id limit ${limit}`,
    );
    return rows.map(toSession);
  }

  async changes(
    sessionId: string,
    filter: ChangeFilter,
    after: bigint,
    limit: number,
    maxBytes: number,
  ): ReturnType<SessionStore["changes"]> {
    const { agent, path } = filter;
    const rows = await run(
      () => this.#sql<(ChangeRow & { found: string })[]>`
        select p.* from (
          select f.*, row_number() over (order by f.sequence) as place, count(*) over () as found,
                 sum(octet_length(f.patch) + octet_length(f.path) + octet_length(f.previous_path) + octet_length(f.summary))
                   over (order by f.sequence rows between unbounded preceding and 1 preceding) as bytes_before
            from (select * from session_changes c where c.session_id = ${sessionNumber(sessionId)} and c.sequence > ${String(after)}
                     and (${agent || null}::text is null or c.agent = ${agent || null}::text)
                     and (${path || null}::text is null or ${path || null}::text in (c.path, c.previous_path))
                   order by c.sequence limit ${limit + 1}) f) p
         where p.place <= ${limit} and coalesce(p.bytes_before, 0) < ${maxBytes} order by p.sequence`,
    );
    return { changes: rows.map(toChange), more: Number(rows[0]?.found ?? 0) > rows.length };
  }
}

function columns({ sessionId, caller, key }: SessionClaim) {
  return {
    session: sessionNumber(sessionId),
    caller: caller ?? null,
    workspace: workspaceNumber(key.workspaceId),
    fence: String(key.fence),
  };
}
