/** Owns `leasehold list-active`, alias `show-active`: which workspaces are in which hands. */
import { create } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Command } from "commander";
import { type Workspace, WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { type ListActiveResponse, ListActiveResponseSchema } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { Client } from "../client/index.js";
import { allPages } from "../client/pages.js";
import { collectEnum, collectLabel, enumName, enumNames } from "./arguments.js";
import { type CallOptions, withCall, withClient } from "./connection.js";
import { formatDuration } from "./duration.js";
import { ago, type OutputOptions, printJson, printTable, shortCommit, withOutput } from "./output.js";
import { withServerSettings } from "./server-settings.js";

interface ListFlags extends CallOptions, OutputOptions {
  readonly repository?: string;
  readonly holder?: string;
  readonly host?: string;
  readonly label?: Record<string, string>;
  readonly workspace?: string;
  readonly lease?: string;
  readonly binding?: string;
  readonly subject?: string;
  readonly state?: (keyof typeof WorkspaceState)[];
  readonly all?: boolean;
}

export function addListActive(program: Command): void {
  const command = program
    .command("list-active")
    .alias("show-active")
    .description("list workspaces, by default the leased ones");
  const states = enumNames(WorkspaceState).filter((name) => name !== "RETIRED");
  withServerSettings(withOutput(withCall(command)))
    .option("-r, --repository <name>", "only this repository's")
    .option("--holder <text>", "only those leased to this holder")
    .option("--host <name>", "only those on this host")
    .option("--label <key=value>", "only those whose lease has this label; may be repeated", collectLabel)
    .option("--workspace <id>", "only this one")
    .option("--binding <key>", "only those of this binding")
    .option("--subject <url>", "only those for this issue or pull request")
    .option("--lease <id>", "only the one with this live lease")
    .option(
      "--state <state>",
      `only those in this state: ${states.join(", ")}; may be repeated (default: LEASED)`,
      collectEnum(WorkspaceState, "WORKSPACE_STATE_"),
    )
    .option("-a, --all", "in whatever state")
    .action(async (options: ListFlags) => {
      await withClient(options, async (client) => {
        const response = await listAll(client, options);
        if (options.output === "json") return printJson(ListActiveResponseSchema, response);
        // a column for those who use it
        const hasSubjects = response.workspaces.some(({ lease }) => lease?.subject !== undefined);
        const rows = response.workspaces.map((workspace) =>
          hasSubjects ? [...row(workspace), workspace.lease?.subject?.url ?? ""] : row(workspace),
        );
        const head = [
          "WORKSPACE",
          "REPOSITORY",
          "STATE",
          "FOR",
          "LEASE",
          "HOLDER",
          "EXPIRES IN",
          "COMMIT",
          "HOST",
          "PATH",
          ...(hasSubjects ? ["SUBJECT"] : []),
        ];
        printTable(head, rows, "no workspaces");
        for (const { workspaceId, problem } of response.workspaces) {
          if (problem !== "") process.stderr.write(`${workspaceId}: ${problem}\n`);
        }
      });
    });
}

/** All pages as one answer. */
async function listAll(client: Client, options: ListFlags): Promise<ListActiveResponse> {
  const states = options.all ? enumNames(WorkspaceState).filter((name) => name !== "RETIRED") : (options.state ?? []);
  const request = {
    repository: options.repository ?? "",
    holder: options.holder ?? "",
    host: options.host ?? "",
    labels: options.label ?? {},
    workspaceId: options.workspace ?? "",
    leaseId: options.lease ?? "",
    binding: options.binding ?? "",
    subject: options.subject ?? "",
    states: states.map((name) => WorkspaceState[name as keyof typeof WorkspaceState]),
    pageSize: 1_000,
  };
  const merged = create(ListActiveResponseSchema);
  const ask = (pageToken: string) =>
    client.workspaces.listActive({ ...request, pageToken }, { timeoutMs: options.timeout });
  for await (const { workspaces, revision, storeId } of allPages(ask)) {
    if (merged.storeId === "") Object.assign(merged, { revision, storeId });
    merged.workspaces.push(...workspaces);
  }
  return merged;
}

function row(workspace: Workspace): string[] {
  const { lease } = workspace;
  const expires = lease?.expireTime === undefined ? undefined : timestampMs(lease.expireTime) - Date.now();
  return [
    workspace.workspaceId,
    workspace.repository,
    enumName(WorkspaceState, workspace.state),
    ago(lease?.acquireTime ?? workspace.idleTime),
    lease?.leaseId ?? "",
    lease?.holder ?? "",
    expires === undefined ? "" : expires > 0 ? formatDuration(expires) : "overdue",
    shortCommit(workspace.commit),
    workspace.host,
    workspace.path,
  ];
}
