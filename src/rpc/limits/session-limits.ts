/** Owns the limits of the fields of SessionService's requests; part of the one table of field-limits.ts. */
import {
  AgentState,
  AgentStateSchema,
  type Change,
  ChangeKind,
  ChangeKindSchema,
  SessionStateSchema,
} from "../../../gen/leasehold/v1/session_pb.js";
import {
  AttachAgentRequestSchema,
  CloseSessionRequestSchema,
  GetSessionRequestSchema,
  ListChangesRequestSchema,
  ListSessionsRequestSchema,
  OpenSessionRequestSchema,
  RecordChangeRequestSchema,
  UpdateAgentRequestSchema,
} from "../../../gen/leasehold/v1/session_service_pb.js";
import { age, any, atLeast, labels, list, oneOf, opaque, type Rule, text, whole } from "./field-rules.js";
import { author, limits, pageTokenOf, subject } from "./request-limits.js";

const name = text({ max: 128 });
const requiredName = text({ max: 128, required: true });
const token = opaque(1024);
const pageSize = whole(0, 2_147_483_647);
const commit = text({
  max: 64,
  fault: (t) => (t === "" || /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(t) ? undefined : "is no full commit id"),
});

/** Relative, inside the workspace, and not git's own. */
function pathFault(path: string): string | undefined {
  const parts = path.split("/");
  if (path.startsWith("/")) return "is absolute";
  if (parts.some((part) => part === "" || part === "." || part === "..")) return "has an empty part, '.' or '..'";
  return parts.some((part) => part.toLowerCase() === ".git") ? "is inside .git" : undefined;
}

const place = text({ max: 4096, fault: (path) => (path === "" ? undefined : pathFault(path)) });

const change: Rule<Change> = (value, path, report) => {
  oneOf(ChangeKindSchema, "refused")(value.kind, `${path}.kind`, report);
  place(value.path, `${path}.path`, report);
  place(value.previousPath, `${path}.previous_path`, report);
  commit(value.baseCommit, `${path}.base_commit`, report);
  commit(value.commit, `${path}.commit`, report);
  text({ max: 2048 })(value.summary, `${path}.summary`, report);
  // a NUL cannot be stored as text
  if (value.patch.includes("\0")) report(`${path}.patch`, "has a NUL");
  const isCommit = value.kind === ChangeKind.COMMITTED;
  if (!isCommit && value.path === "") report(`${path}.path`, "is required");
  if (isCommit && value.commit === "") report(`${path}.commit`, "is required");
  if (value.kind === ChangeKind.RENAMED && value.previousPath === "") report(`${path}.previous_path`, "is required");
};

export const sessionRequests = [
  limits(OpenSessionRequestSchema, { leaseId: opaque(128), leaseToken: token, subject, labels }),
  limits(AttachAgentRequestSchema, {
    sessionId: requiredName,
    leaseToken: token,
    agent: requiredName,
    backend: text({
      max: 63,
      required: true,
      pattern: { matches: /^[a-z][a-z0-9_-]{0,62}$/, described: "[a-z][a-z0-9_-]{0,62}" },
    }),
    author,
  }),
  limits(
    UpdateAgentRequestSchema,
    {
      sessionId: requiredName,
      leaseToken: token,
      agent: requiredName,
      expectedVersion: atLeast(0n),
      backendSessionId: (value, path, report) => {
        if (value !== undefined) text({ max: 512, required: true })(value, path, report);
      },
      state: oneOf(AgentStateSchema, "allowed"),
      problem: text({ max: 2048 }),
    },
    ({ problem, state }, report) => {
      if (problem && state !== AgentState.FAILED) report("problem", "needs the state FAILED");
    },
  ),
  limits(RecordChangeRequestSchema, {
    sessionId: requiredName,
    leaseToken: token,
    agent: requiredName,
    requestId: text({ max: 128, pattern: { matches: /^[\x20-\x7e]*$/, described: "printable ASCII" } }),
    changes: (value, path, report) => {
      if (value.length === 0) report(path, "is required");
      list({ max: 100, each: change })(value, path, report);
    },
  }),
  limits(
    ListChangesRequestSchema,
    {
      sessionId: requiredName,
      agent: name,
      path: text({ max: 4096 }),
      afterSequence: atLeast(0n),
      pageSize,
      pageToken: any,
    },
    pageTokenOf(ListChangesRequestSchema, /^\d{1,18}$/),
  ),
  limits(GetSessionRequestSchema, { sessionId: requiredName }),
  limits(
    ListSessionsRequestSchema,
    {
      repository: name,
      binding: text({ max: 256 }),
      subject: text({ max: 2048 }),
      agent: name,
      host: name,
      states: list({ max: 8, each: oneOf(SessionStateSchema, "refused") }),
      inactiveFor: age,
      pageSize,
      pageToken: any,
    },
    pageTokenOf(ListSessionsRequestSchema),
  ),
  limits(CloseSessionRequestSchema, {
    sessionId: requiredName,
    leaseToken: (value, path, report) => {
      if (value !== "") token(value, path, report);
    },
    force: any,
  }),
];
