/** Owns the sessions of the service side for tests of `rpc/`: one, with one agent and one change. */
import type { Change, Session, SessionAgent } from "../../src/domain/session.js";
import type { Sessions } from "../../src/service/sessions.js";
import { time, workspace } from "./in-memory-values.js";

const agent: SessionAgent = {
  ...{ sessionId: "n3", agent: "ada", backend: "demo", backendSessionId: "b-1" },
  ...{ boundHost: "here", boundPath: "/w17", boundWorkspaceId: "w17", state: "STOPPED", problem: "" },
  ...{
    blocker: "NO_LEASE",
    author: { name: "Ada", email: "ada@example.com" },
    version: 4n,
    createTime: time,
    updateTime: time,
  },
};

export const session: Session = {
  ...{ id: "n3", repository: "demo", binding: "desk", caller: "", subjectState: "OPEN", state: "SUSPENDED" },
  subject: { url: "https://f.test/o/n/issues/7", forge: "f", project: "o/n", kind: "ISSUE", number: 7 },
  ...{ subjectCheckTime: time, workspaceId: "w17", host: "here", path: "/w17", fence: 4n, agents: [agent] },
  ...{ labels: { a: "b" }, version: 9n, createTime: time, activeTime: time, salvageId: "" },
};

const change: Change = {
  ...{ sequence: 2n, sessionId: "n3", agent: "ada", fence: 4n, kind: "RENAMED", path: "b", previousPath: "a" },
  ...{ baseCommit: "", commit: "", patch: "", patchTruncated: false, summary: "moved", createTime: time },
};

export const inMemorySessions: Sessions = {
  open: async () => ({ session, reopened: true }),
  attach: async () => ({ agent, workspace, environment: { LEASEHOLD_AGENT: "ada" }, alreadyAttached: false }),
  update: async () => agent,
  record: async () => [change],
  changes: async () => ({ changes: [change], more: false }),
  get: async () => session,
  list: async () => ({ sessions: [session], more: false }),
  close: async () => ({ session, alreadyClosed: false }),
};
