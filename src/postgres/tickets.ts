/** Implements the port's `TicketDesk` and `TicketBoard` over migrations/0004_tickets.sql and 0028_grants.sql. */
import { randomUUID } from "node:crypto";
import type { LeaseDependencies } from "../domain/dependencies.js";
import type { FailureRecord } from "../domain/failure.js";
import type { LeaseKey } from "../domain/lease.js";
import {
  type ActivateRequest,
  type Grant,
  type GrantOutcome,
  type GrantRequest,
  type OpenedTicket,
  type OpenTicket,
  type Ticket,
  type TicketBoard,
  type TicketDesk,
  type TicketOutcome,
  type TicketSpec,
  withDependencies,
} from "../ports/lease-store.js";
import { integers, type Json, only, run, type Sql } from "./client.js";
import type { Identity } from "./identity.js";
import { type LeaseRow, toGrant, type WorkspaceRow, workspaceName, workspaceNumber } from "./rows.js";

export class PostgresTickets implements TicketDesk, TicketBoard {
  readonly #sql: Sql;
  readonly #identity: Identity;

  constructor(sql: Sql, identity: Identity) {
    this.#sql = sql;
    this.#identity = identity;
  }

  async open(request: OpenTicket): Promise<OpenedTicket> {
    const kept = request.requestId !== "";
    // our own id makes the statement safe to send again after a lost reply
    const requestId = kept ? request.requestId : randomUUID();
    const { caller, digest, repositoryId, hostId } = request;
    const row = only(
      await run(
        () => this.#sql<{ outcome: "opened" | "joined" | "leased" | "reused"; ticket: string; host: number }[]>`
          select outcome, ticket, host from open_ticket(${String(this.#identity.deskId)}, ${caller}, ${requestId}, ${kept}, ${digest},
            ${repositoryId}, ${hostId}, ${this.#sql.json(request.spec as unknown as Json)})`,
      ),
    );
    const ticketId = BigInt(row.ticket);
    if (row.outcome === "reused") return { kind: "reused" };
    if (row.outcome !== "leased") return { kind: row.outcome, ticketId, hostId: row.host };
    const grant = await this.#grantOf(ticketId);
    // its lease was forgotten between the two statements: as good as never asked for
    return grant ? { kind: "leased", ticketId, grant } : this.open(request);
  }

  async read(ticketId: bigint): Promise<TicketOutcome> {
    const [row] = await run(
      () => this.#sql<TicketRow[]>`
        with attended as (
          update tickets set server_id = ${String(this.#identity.deskId)}, leave_time = null
           where id = ${String(ticketId)} and state in ('OPEN', 'WAITING', 'GRANTED') and not is_alive(server_id)
        )
        select state, failure, case when state <> 'OPEN' then null when awaits_binding then 'binding' when evicting then 'place' end as awaits
          from tickets where id = ${String(ticketId)}`,
    );
    if (!row) return { kind: "gone" };
    if (row.failure) return { kind: "failed", failure: row.failure };
    const { state, awaits } = row;
    if (state === "OPEN" || state === "WAITING" || state === "GRANTED") {
      return { kind: "pending", state, ...(awaits ? { awaits } : {}) };
    }
    const grant = await this.#grantOf(ticketId);
    return grant ? { kind: "leased", grant } : { kind: "gone" };
  }

  async leave(ticketId: bigint, over: boolean): Promise<{ position: number; gone: boolean }> {
    const row = only(
      await run(
        () => this.#sql<{ place: number; gone: boolean }[]>`
          select place, gone from leave_ticket(${String(this.#identity.deskId)}, ${String(ticketId)}, ${over})`,
      ),
    );
    return { position: row.place, gone: row.gone };
  }

  async position(ticketId: bigint): Promise<number> {
    const [row] = await run(
      () => this.#sql<{ place: number }[]>`select place_of(t) as place from tickets t where t.id = ${String(ticketId)}`,
    );
    return row?.place ?? 0;
  }

  async delivered(ticketId: bigint): Promise<void> {
    await run(() => this.#sql`select deliver_ticket(${String(ticketId)})`);
  }

  async endUndelivered(ticketId: bigint): Promise<boolean> {
    const row = only(
      await run(() => this.#sql<{ ended: boolean }[]>`select end_undelivered(${String(ticketId)}) as ended`),
    );
    return row.ended;
  }

  async pending(known: readonly bigint[]): Promise<readonly Ticket[]> {
    const rows = await run(
      () => this.#sql<{ id: string; repository_id: number; spec: TicketSpec }[]>`
        select t.id, t.repository_id, t.spec from tickets t
         where t.host_id = ${this.#identity.hostId} and t.state in ('OPEN', 'WAITING') and t.id <> all (${integers(known)}::bigint[])
           and is_alive(t.server_id)
         order by t.id limit 1000`,
    );
    return rows.map((row) => ({ ticketId: BigInt(row.id), repositoryId: row.repository_id, spec: row.spec }));
  }

  async grant(request: GrantRequest): Promise<GrantOutcome> {
    const { ticketId, commit, head, refsVersion, workspaceRoot, mayMake, url } = request;
    const row = only(
      await run(
        () => this.#sql<GrantRow[]>`
          select * from grant_ticket(${String(this.#identity.ownerId)}, ${String(ticketId)}, ${commit}, ${head},
            ${String(refsVersion)}, ${workspaceRoot}, ${mayMake}, ${url})`,
      ),
    );
    if (row.outcome === "waiting" || row.outcome === "exhausted") return { kind: row.outcome, position: row.place };
    if (row.outcome === "elsewhere") return { kind: "elsewhere", host: row.elsewhere };
    if (row.outcome !== "granted") return { kind: row.outcome };
    return {
      kind: "granted",
      key: { workspaceId: workspaceName(row.workspace), fence: BigInt(row.granted_fence) },
      path: row.granted_path,
      from: row.from_commit,
      source: row.origin,
    };
  }

  async activate(request: ActivateRequest): Promise<Grant | undefined> {
    const { ticketId, key, commit, head, refsVersion, source, fetchTime, timings } = request;
    return this.#readGrant(
      () => this.#sql<GrantedRow[]>`
        select * from activate_ticket(${String(this.#identity.ownerId)}, ${String(ticketId)}, ${workspaceNumber(key.workspaceId)},
          ${String(key.fence)}, ${commit}, ${head}, ${String(refsVersion)}, ${source}, ${fetchTime ?? null},
          ${this.#sql.json(timings as unknown as Json)})`,
    );
  }

  async giveBack(ticketId: bigint, key: LeaseKey, to: "IDLE" | "PARKED" | "CLEANING"): Promise<void> {
    await run(
      () => this
        .#sql`select give_back(${String(this.#identity.ownerId)}, ${String(ticketId)}, ${workspaceNumber(key.workspaceId)},
        ${String(key.fence)}, ${to})`,
    );
  }

  async fail(ticketId: bigint, failure: FailureRecord): Promise<void> {
    await run(() => this.#sql`select fail_ticket(${String(ticketId)}, ${this.#sql.json(failure as unknown as Json)})`);
  }

  #grantOf(ticketId: bigint): Promise<Grant | undefined> {
    return this.#readGrant(
      () => this.#sql<GrantedRow[]>`
        select g.*, (select l.dependencies from leases l where l.workspace_id = g.id and l.fence = g.lease_fence) as dependencies
          from grant_rows g
         where id = (select t.workspace_id from tickets t where t.id = ${String(ticketId)})
           and lease_fence = (select t.fence from tickets t where t.id = ${String(ticketId)})`,
    );
  }

  /** What remains was read somewhere between the question and the answer: the whole of it is taken off, so that no holder hopes too long. */
  async #readGrant(statement: () => PromiseLike<GrantedRow[]>): Promise<Grant | undefined> {
    let asked = 0;
    const [row] = await run(() => {
      asked = performance.now();
      return statement();
    });
    if (!row) return undefined;
    const grant = toGrant({ ...row, remaining_ms: Math.max(row.remaining_ms - (performance.now() - asked), 0) });
    return row.dependencies ? withDependencies(grant, row.dependencies) : grant;
  }
}

/** `dependencies`: not right after the lease was born; who made it knows them. */
type GrantedRow = WorkspaceRow & LeaseRow & { readonly dependencies?: LeaseDependencies | null };

interface TicketRow {
  state: "OPEN" | "WAITING" | "GRANTED" | "LEASED" | "FAILED";
  failure: FailureRecord | null;
  awaits: "place" | "binding" | null;
}

interface GrantRow {
  outcome: GrantOutcome["kind"];
  elsewhere: string;
  place: number;
  workspace: string;
  granted_fence: string;
  granted_path: string;
  from_commit: string;
  origin: "exact" | "idle" | "new" | "bound";
}
