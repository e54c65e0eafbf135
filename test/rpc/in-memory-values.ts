/** Owns what the service side for tests of `rpc/` answers. */
import type { Event } from "../../src/domain/event.js";
import type { Lease } from "../../src/domain/lease.js";
import { defaultSettings, type RepositoryOverview, type RepositorySettings } from "../../src/domain/repository.js";
import type { Salvage } from "../../src/domain/salvage.js";
import { type SweepReport, summaryOf } from "../../src/domain/sweep.js";
import type { Workspace } from "../../src/domain/workspace.js";

export const time = new Date("2026-01-02T03:04:05.678Z");

export const lease: Lease = {
  workspaceId: "w17",
  fence: 4n,
  repository: "demo",
  host: "here",
  revision: "main",
  commit: "a".repeat(40),
  holder: "tester",
  caller: "",
  labels: { team: "x" },
  acquireTime: time,
  expireTime: new Date(time.getTime() + 60_000),
  remainingMs: 59_999.5,
  binding: "desk",
  ttlMs: 60_000,
};

export const workspace: Workspace = {
  id: "w17",
  repository: "demo",
  host: "here",
  path: "/workspaces/demo/w17.4",
  state: "LEASED",
  version: 3n,
  fence: 4n,
  commit: "a".repeat(40),
  head: "refs/heads/main",
  binding: "desk",
  problem: "",
  createTime: time,
  lease,
};

export function event(revision: bigint, detail = ""): Event {
  return {
    revision,
    kind: "LEASE_ACQUIRED",
    repository: "demo",
    host: "here",
    workspaceId: "w17",
    version: revision,
    leaseId: "w17.4",
    fence: 4n,
    holder: "tester",
    caller: "",
    labels: {},
    binding: "desk",
    salvageId: "",
    sessionId: "",
    agent: "",
    subject: "",
    detail,
    time,
  };
}

export const salvage: Salvage = {
  salvageId: "s17.4",
  repository: "demo",
  host: "here",
  leaseId: "w17.4",
  workspaceId: "w17",
  holder: "tester",
  caller: "",
  reason: "EXPIRED",
  repositoryPath: "/salvages/demo.git",
  ref: "refs/leasehold/salvage/s17.4",
  commit: "b".repeat(40),
  baseCommit: "a".repeat(40),
  files: 2,
  commits: 1,
  bytes: 300,
  incomplete: ["a damaged stash"],
  createTime: time,
  expireTime: new Date(time.getTime() + 86_400_000),
};

const settings: RepositorySettings = {
  ...defaultSettings,
  url: "https://git.example.com/demo.git",
  minIdle: 1,
  salvageTtlMs: 86_400_000,
};

export const overview: RepositoryOverview = {
  repository: { ...settings, id: 1, name: "demo", removing: false, createTime: time },
  mirror: { state: "READY", problem: "", defaultBranch: "main", refsVersion: 1n, fetchTime: time },
  counts: { preparing: 0, idle: 1, leased: 2, cleaning: 0, quarantined: 0, parked: 4 },
  mirrorBytes: 4096,
  bytes: 8192,
};

export function sweepReport(dryRun: boolean): SweepReport {
  const counts = { sessions: 3, worktrees: 2, cacheClones: 0, active: 12, unknown: 1, errors: 0 };
  const dropped = { reason: "SUBJECT_CLOSED", sessionId: "n17", workspaceId: "w17", repository: "demo" } as const;
  const subject = "https://git.example.com/owner/name/issues/7";
  return {
    ...{ dryRun, startTime: time, endTime: time, counts, summary: summaryOf(counts), leftOut: 0 },
    entries: [{ kind: "SESSION", outcome: "DROPPED", ...dropped, subject, detail: "" }],
  };
}
