/**
 * Owns a service side for tests of `rpc/`: it answers from memory and records what it was asked.
 * The real one is met in the end-to-end tests; here only the port's boundary counts.
 */

import { setMaxListeners } from "node:events";
import { Failure } from "../../src/domain/failure.js";
import type {
  AcquireInput,
  Administration,
  CallContext,
  Services,
  WatchItem,
  Workspaces,
} from "../../src/service/services.js";
import { inMemorySessions } from "./in-memory-sessions.js";
import { event, lease, overview, salvage, sweepReport, time, workspace } from "./in-memory-values.js";

export { event, lease, overview, salvage, workspace };

/** What the service was asked, newest last. */
export interface Asked {
  readonly method: string;
  readonly input: unknown;
  readonly call: CallContext;
}

export class InMemoryServices implements Services {
  readonly asked: Asked[] = [];
  /** How often a lease was given up because its answer was lost. */
  undelivered = 0;
  /** Watch streams that are open. */
  watching = 0;
  /** Events that watchers were given. */
  given = 0;
  /** What Acquire does before it answers. */
  beforeAcquire: (input: AcquireInput, call: CallContext) => Promise<void> = async () => {};
  /** Payload of each event. */
  detail = "";
  /** Whether events follow each other without end; otherwise a Watch is silent after its first item. */
  floods = false;
  readonly #drain = new AbortController();

  constructor() {
    setMaxListeners(0, this.#drain.signal);
  }

  /** As the service does when the server drains. */
  drain(): void {
    this.#drain.abort();
  }

  #note(method: string, input: unknown, call: CallContext): void {
    this.asked.push({ method, input, call });
  }

  readonly workspaces: Workspaces = {
    acquire: async (input, call) => {
      this.#note("acquire", input, call);
      await this.beforeAcquire(input, call);
      const grant = {
        lease,
        workspace,
        source: "WARM" as const,
        resolvedCommit: lease.commit,
        lostSalvageId: "s17.3",
        fetchTime: time,
        timings: [{ step: "grant", ms: 1.5 }],
      };
      const undelivered = async () => {
        this.undelivered += 1;
      };
      return { grant, token: `w17.4.${"t".repeat(43)}`, storeId: "store", delivered: () => {}, undelivered };
    },
    heartbeat: async (leaseId, token, ttlMs, call) => {
      this.#note("heartbeat", { leaseId, token, ttlMs }, call);
      if (!token.startsWith(`${leaseId}.`)) throw new Failure("TOKEN_INVALID", "the lease token is not of this lease");
      return lease;
    },
    release: async (input, call) => {
      this.#note("release", input, call);
      return { workspace, alreadyReleased: false, fate: { kind: "saved", salvage } };
    },
    list: async (input, call) => {
      this.#note("list", input, call);
      const isFirst = input.after === "";
      return {
        workspaces: [{ ...workspace, id: isFirst ? "w17" : "w18" }],
        more: isFirst,
        revision: isFirst ? 7n : 9n,
        storeId: "store",
      };
    },
    get: async (workspaceId, call) => {
      this.#note("get", workspaceId, call);
      if (workspaceId === "w99")
        throw new Failure("WORKSPACE_NOT_FOUND", "no workspace w99", { metadata: { workspace_id: "w99" } });
      if (workspaceId === "w500") throw new TypeError("secret detail of a defect");
      return workspace;
    },
    reclaim: async (selector, call) => {
      this.#note("reclaim", selector, call);
      return [{ workspaceId: "w17", workspace, action: "REMOVED", reason: "" }];
    },
    reset: async (selector, call) => {
      this.#note("reset", selector, call);
      return [{ workspaceId: "w5", action: "NONE", reason: "WORKSPACE_NOT_FOUND" }];
    },
    watch: (input, call) => {
      this.#note("watch", input, call);
      return this.#watch(call.signal, input.untilNow);
    },
  };

  async *#watch(signal: AbortSignal, untilNow: boolean): AsyncGenerator<WatchItem> {
    this.watching += 1;
    try {
      yield { revision: 7n, storeId: "store", kind: "snapshotEnd", workspaces: 0 };
      for (let revision = 8n; this.floods; revision += 1n) {
        this.given += 1;
        yield { revision, storeId: "store", kind: "event", event: event(revision, this.detail) };
        await new Promise(setImmediate);
        if (signal.aborted) return;
        if (this.#drain.signal.aborted) break;
      }
      if (untilNow) return;
      await new Promise<void>((resolve) => {
        for (const source of [signal, this.#drain.signal]) {
          if (source.aborted) resolve();
          source.addEventListener("abort", () => resolve(), { once: true });
        }
      });
      if (!signal.aborted) throw new Failure("DRAINING", "the server is shutting down", { retryAfterMs: 1000 });
    } finally {
      this.watching -= 1;
    }
  }

  readonly sessions = inMemorySessions;

  readonly administration: Administration = {
    verifyWorkspaces: async (input, call) => {
      this.#note("verifyWorkspaces", input, call);
      return [
        { workspaceId: workspace.id, workspace, verification: { kind: "differs", findings: ["a: content"], files: 3 } },
        { workspaceId: "w18", skipped: "WORKSPACE_NOT_FOUND" },
      ];
    },
    registerRepository: async (name, given, call) => {
      this.#note("registerRepository", { name, settings: given }, call);
      return overview;
    },
    updateRepository: async (name, changes, call) => {
      this.#note("updateRepository", { name, changes }, call);
      return overview;
    },
    listRepositories: async (input, call) => {
      this.#note("listRepositories", input, call);
      return { repositories: [overview], more: false };
    },
    removeRepository: async (name, force, call) => this.#note("removeRepository", { name, force }, call),
    refreshMirror: async (name, call) => {
      this.#note("refreshMirror", name, call);
      return { overview, changed: true };
    },
    listSalvages: async (input, call) => {
      this.#note("listSalvages", input, call);
      const isFirst = input.after === "";
      return {
        salvages: [{ ...salvage, salvageId: isFirst ? "s17.4" : "s17.9" }],
        more: isFirst,
        revision: isFirst ? 7n : 9n,
      };
    },
    sweep: async (dryRun, call) => {
      this.#note("sweep", dryRun, call);
      return { report: sweepReport(dryRun), joined: false };
    },
    discardSalvage: async (salvageId, call) => {
      this.#note("discardSalvage", salvageId, call);
      if (salvageId === "s99.1") throw new Failure("SALVAGE_NOT_FOUND", "no salvage s99.1");
    },
    listHosts: async (input, call) => {
      this.#note("listHosts", input, call);
      const host = {
        name: "here",
        owned: true,
        wellTime: time,
        seenTime: time,
        createTime: time,
        workspaces: 3,
        leases: 2,
      };
      return { hosts: [host], more: false };
    },
    removeHost: async (name, force, call) => this.#note("removeHost", { name, force }, call),
    usage: async (host, sizes, call) => {
      this.#note("usage", { host, sizes }, call);
      return [{ host: "here", repositories: [], submoduleBytes: 1, trashBytes: 2, otherBytes: 3 }];
    },
    serverInfo: async (call) => {
      this.#note("serverInfo", {}, call);
      return {
        version: "0.0.0",
        host: "here",
        owner: true,
        storeId: "store",
        newestRevision: 7n,
        oldestRevision: 1n,
        startTime: time,
        eventRetentionMs: 604_800_000,
        ttl: { min: 5000, max: 86_400_000, default: 60_000 },
        authentication: false,
        components: { node: process.version },
      };
    },
  };
}
