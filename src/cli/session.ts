/** Owns `leasehold session`: the histories of agents that share workspaces. */
import { create } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { Command } from "commander";
import {
  AgentState,
  ChangeKind,
  ResumeBlocker,
  type Session,
  SessionCloseReason,
  SessionState,
  SubjectState,
} from "../../gen/leasehold/v1/session_pb.js";
import {
  CloseSessionResponseSchema,
  GetSessionResponseSchema,
  ListChangesResponseSchema,
  ListSessionsResponseSchema,
} from "../../gen/leasehold/v1/session_service_pb.js";
import { allPages } from "../client/pages.js";
import { collectEnum, enumName, enumNames } from "./arguments.js";
import { type CallOptions, withCall, withClient } from "./connection.js";
import { ago, labelText, notice, type OutputOptions, printFacts, printJson, printTable, withOutput } from "./output.js";
import { addScan } from "./session-scan.js";

type Flags = CallOptions & OutputOptions;

export function addSession(program: Command): void {
  const group = program.command("session").description("look at the histories of agents that share workspaces");
  addList(group);
  addShow(group);
  addChanges(group);
  addScan(group);
  addClose(group);
}

interface ListFlags extends Flags {
  readonly repository?: string;
  readonly binding?: string;
  readonly subject?: string;
  readonly agent?: string;
  readonly host?: string;
  readonly state?: (keyof typeof SessionState)[];
}

function addList(group: Command): void {
  withOutput(withCall(group.command("list").alias("ls").description("list sessions, by default the open ones")))
    .option("-r, --repository <name>", "only this repository's")
    .option("--binding <key>", "only those of this binding")
    .option("--subject <url>", "only those about this issue or pull request")
    .option("--agent <name>", "only those that have this agent")
    .option("--host <name>", "only those whose workspace is on this host")
    .option(
      "--state <state>",
      `only those in this state: ${enumNames(SessionState).join(", ")}; may be repeated`,
      collectEnum(SessionState, "SESSION_STATE_"),
    )
    .action(async (options: ListFlags) => {
      await withClient(options, async (client) => {
        const { repository = "", binding = "", subject = "", agent = "", host = "" } = options;
        const states = (options.state ?? []).map((name) => SessionState[name]);
        const request = { repository, binding, subject, agent, host, states, pageSize: 1_000 };
        const merged = create(ListSessionsResponseSchema);
        const ask = (pageToken: string) =>
          client.sessions.listSessions({ ...request, pageToken }, { timeoutMs: options.timeout });
        for await (const { sessions } of allPages(ask)) merged.sessions.push(...sessions);
        if (options.output === "json") return printJson(ListSessionsResponseSchema, merged);
        const head = ["SESSION", "REPOSITORY", "BINDING", "STATE", "ACTIVE", "AGENTS", "SUBJECT"];
        printTable(head, merged.sessions.map(row), "no sessions");
      });
    });
}

function addShow(group: Command): void {
  withOutput(withCall(group.command("show").description("show one session and its agents")))
    .argument("<id>", "the session, for instance n17")
    .action(async (sessionId: string, options: Flags) => {
      await withClient(options, async (client) => {
        const response = await client.sessions.getSession({ sessionId }, { timeoutMs: options.timeout });
        if (options.output === "json") return printJson(GetSessionResponseSchema, response);
        if (response.session) show(response.session);
      });
    });
}

function addChanges(group: Command): void {
  withOutput(withCall(group.command("changes").description("list what agents changed, in order")))
    .argument("<id>", "the session")
    .option("--agent <name>", "only this agent's")
    .option("--path <path>", "only of this path")
    .action(async (sessionId: string, options: Flags & { agent?: string; path?: string }) => {
      await withClient(options, async (client) => {
        const request = { sessionId, agent: options.agent ?? "", path: options.path ?? "", pageSize: 1_000 };
        const merged = create(ListChangesResponseSchema);
        const ask = (pageToken: string) =>
          client.sessions.listChanges({ ...request, pageToken }, { timeoutMs: options.timeout });
        for await (const { changes } of allPages(ask)) merged.changes.push(...changes);
        if (options.output === "json") return printJson(ListChangesResponseSchema, merged);
        const rows = merged.changes.map((change) => [
          String(change.sequence),
          change.createTime ? timestampDate(change.createTime).toISOString() : "",
          change.agent,
          enumName(ChangeKind, change.kind),
          change.previousPath === "" ? change.path : `${change.previousPath} -> ${change.path}`,
          change.summary,
        ]);
        printTable(["#", "TIME", "AGENT", "KIND", "PATH", "SUMMARY"], rows, "no changes");
      });
    });
}

interface CloseFlags extends Flags {
  readonly force?: boolean;
  readonly leaseToken?: string;
}

function addClose(group: Command): void {
  withOutput(withCall(group.command("close").description("close a session: its agents' conversations are forgotten")))
    .argument("<id>", "the session")
    .option("--force", "also while its lease lives, which goes on; for admins")
    .option(
      "--lease-token <token>",
      "closes it while this lease lives; others on this machine can read it here, so better: LEASEHOLD_LEASE_TOKEN",
    )
    .action(async (sessionId: string, options: CloseFlags) => {
      await withClient(options, async (client) => {
        const { force = false } = options;
        // who forces needs none, and the variable may be of another lease
        const leaseToken = options.leaseToken ?? (force ? "" : (process.env.LEASEHOLD_LEASE_TOKEN ?? ""));
        const request = { sessionId, force, leaseToken };
        const response = await client.sessions.closeSession(request, { timeoutMs: options.timeout });
        if (options.output === "json") return printJson(CloseSessionResponseSchema, response);
        notice(`session ${sessionId} ${response.alreadyClosed ? "was closed before" : "is closed"}`);
      });
    });
}

function row(session: Session): string[] {
  return [
    session.sessionId,
    session.repository,
    session.binding,
    enumName(SessionState, session.state),
    `${ago(session.activeTime)} ago`,
    session.agents.map(({ agent, state }) => `${agent} (${enumName(AgentState, state)})`).join(", "),
    session.subject?.url ?? "",
  ];
}

function show(session: Session): void {
  const { subject, subjectState, closeReason } = session;
  printFacts([
    ["session", session.sessionId],
    ["repository", session.repository],
    ["binding", session.binding],
    ["state", enumName(SessionState, session.state)],
    ["closed", closeReason === SessionCloseReason.UNSPECIFIED ? "" : enumName(SessionCloseReason, closeReason)],
    ["subject", subject === undefined ? "" : `${subject.url} (${enumName(SubjectState, subjectState)})`],
    ["workspace", `${session.workspaceId} on ${session.host}`],
    ["path", session.path],
    ["lease", session.leaseId],
    ["active", `${ago(session.activeTime)} ago`],
    ["dropped on", session.dropTime === undefined ? "" : timestampDate(session.dropTime).toISOString()],
    ["labels", labelText(session.labels)],
    ["salvage", session.salvageId],
  ]);
  const rows = session.agents.map(({ agent, backend, state, backendSessionId, resume, problem }) => [
    agent,
    backend,
    enumName(AgentState, state),
    backendSessionId,
    resume?.possible ? "yes" : `no: ${enumName(ResumeBlocker, resume?.blocker ?? ResumeBlocker.UNSPECIFIED)}`,
    problem,
  ]);
  printTable(["AGENT", "BACKEND", "STATE", "CONVERSATION", "RESUMES", "PROBLEM"], rows, "no agents");
}
