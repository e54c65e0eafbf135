/** Owns `leasehold salvage`: what was saved of unsaved work, and how it comes back. */
import { create } from "@bufbuild/protobuf";
import { timestampDate, timestampMs } from "@bufbuild/protobuf/wkt";
import { type Command, InvalidArgumentError } from "commander";
import {
  DiscardSalvageResponseSchema,
  type ListSalvagesResponse,
  ListSalvagesResponseSchema,
} from "../../gen/leasehold/v1/admin_service_pb.js";
import { LeaseEndReason } from "../../gen/leasehold/v1/lease_pb.js";
import { type Salvage, SalvageSchema } from "../../gen/leasehold/v1/salvage_pb.js";
import type { Client } from "../client/index.js";
import { allPages } from "../client/pages.js";
import { type LeaseDetails, withLeaseDetails } from "./acquire-options.js";
import { acquireAndPrint } from "./acquired.js";
import { enumName } from "./arguments.js";
import { type CallOptions, type ConnectionOptions, withCall, withClient, withConnection } from "./connection.js";
import { formatDuration } from "./duration.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { ago, notice, type OutputOptions, printFacts, printJson, printTable, withOutput } from "./output.js";
import { withServerSettings } from "./server-settings.js";

type Flags = CallOptions & OutputOptions;

interface ListFlags extends Flags {
  readonly repository?: string;
  readonly host?: string;
  readonly holder?: string;
  readonly workspace?: string;
  readonly lease?: string;
}

export function addSalvage(program: Command): void {
  const group = program.command("salvage").description("see, bring back and discard what was saved of unsaved work");
  addList(group);
  addShow(group);
  addRestore(group);
  addDiscard(group);
}

function addList(group: Command): void {
  withServerSettings(withOutput(withCall(group.command("list").alias("ls").description("list salvages"))))
    .option("-r, --repository <name>", "only this repository's, also one that was removed")
    .option("--host <name>", "only those on this host")
    .option("--holder <text>", "only those that this holder left")
    .option("--workspace <id>", "only those of this workspace")
    .option("--lease <id>", "only what this lease left")
    .action(async (options: ListFlags) => {
      await withClient(options, async (client) => {
        const response = await listAll(client, options);
        if (options.output === "json") return printJson(ListSalvagesResponseSchema, response);
        const head = ["SALVAGE", "REPOSITORY", "HOLDER", "WHY", "AGE", "EXPIRES IN", "FILES", "COMMITS", "HOST"];
        printTable(head, response.salvages.map(row), "no salvages");
      });
    });
}

function addShow(group: Command): void {
  withOutput(withCall(group.command("show").description("show one salvage, and how plain git gets at it")))
    .argument("<id>", "the salvage", salvageId)
    .action(async (id: string, options: Flags) => {
      await withClient(options, async (client) => {
        const salvage = await find(client, id, options.timeout);
        if (options.output === "json") return printJson(SalvageSchema, salvage);
        printFacts(facts(salvage));
      });
    });
}

function addRestore(group: Command): void {
  const command = group
    .command("restore")
    .description("lease a workspace with a salvage in it; prints what `acquire` does, and keeps the salvage");
  withOutput(withConnection(withLeaseDetails(command)))
    .argument("<id>", "the salvage", salvageId)
    .action(async (id: string, options: LeaseDetails & ConnectionOptions & OutputOptions) => {
      await withClient(options, async (client) => {
        const { repository } = await find(client, id, findTimeoutMs);
        await acquireAndPrint(client, { ...options, repository, restoreSalvage: id });
      });
    });
}

function addDiscard(group: Command): void {
  withOutput(withCall(group.command("discard").description("discard a salvage for good")))
    .argument("<id>", "the salvage", salvageId)
    .action(async (id: string, options: Flags) => {
      await withClient(options, async (client) => {
        const response = await client.admin.discardSalvage({ salvageId: id }, { timeoutMs: options.timeout });
        if (options.output === "json") printJson(DiscardSalvageResponseSchema, response);
        else notice(`salvage ${id} is discarded`);
      });
    });
}

const findTimeoutMs = 30_000;

async function find(client: Client, id: string, timeoutMs: number): Promise<Salvage> {
  const { salvages } = await client.admin.listSalvages({ salvageId: id }, { timeoutMs });
  const [salvage] = salvages;
  if (!salvage) throw new CommandError(`there is no salvage ${id}, or none that you may see`, exitCodes.notFound);
  return salvage;
}

/** All pages as one answer. */
async function listAll(client: Client, options: ListFlags): Promise<ListSalvagesResponse> {
  const { repository = "", host = "", holder = "", workspace = "", lease = "", timeout } = options;
  const request = { repository, host, holder, workspaceId: workspace, leaseId: lease, pageSize: 1_000 };
  const merged = create(ListSalvagesResponseSchema);
  const ask = (pageToken: string) => client.admin.listSalvages({ ...request, pageToken }, { timeoutMs: timeout });
  for await (const { salvages, revision } of allPages(ask)) {
    if (merged.revision === 0n) merged.revision = revision;
    merged.salvages.push(...salvages);
  }
  return merged;
}

function row(salvage: Salvage): string[] {
  return [
    salvage.salvageId,
    salvage.repository,
    salvage.holder,
    why(salvage),
    ago(salvage.createTime),
    expiresIn(salvage),
    String(salvage.files),
    String(salvage.commits),
    salvage.host,
  ];
}

function facts(salvage: Salvage): readonly (readonly [string, string])[] {
  return [
    ["salvage", salvage.salvageId],
    ["repository", salvage.repository],
    ["host", salvage.host],
    ["lease", salvage.leaseId],
    ["holder", salvage.holder],
    ["caller", salvage.caller],
    ["why", why(salvage)],
    ["files", String(salvage.files)],
    ["commits", String(salvage.commits)],
    ["bytes", String(salvage.bytes)],
    ...salvage.incomplete.map((text) => ["not saved", text] as const),
    ["made", salvage.createTime === undefined ? "" : timestampDate(salvage.createTime).toISOString()],
    ["expires in", expiresIn(salvage)],
    ["commit", salvage.commit],
    ["fetch", `git fetch ${salvage.repositoryPath} ${salvage.ref}`],
  ];
}

function why({ reason }: Salvage): string {
  return reason === LeaseEndReason.UNSPECIFIED ? "" : enumName(LeaseEndReason, reason);
}

function expiresIn({ expireTime }: Salvage): string {
  if (expireTime === undefined) return "";
  const left = timestampMs(expireTime) - Date.now();
  return left > 0 ? formatDuration(left) : "overdue";
}

/** An empty id would be no filter at all. */
function salvageId(text: string): string {
  if (text === "") throw new InvalidArgumentError("It may not be empty.");
  return text;
}
