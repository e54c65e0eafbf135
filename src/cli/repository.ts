/** Owns `leasehold repository`: which upstreams there are workspaces of. */
import { create } from "@bufbuild/protobuf";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import type { Command } from "commander";
import {
  type ListRepositoriesResponse,
  ListRepositoriesResponseSchema,
  RefreshMirrorResponseSchema,
  RegisterRepositoryResponseSchema,
  UpdateRepositoryResponseSchema,
} from "../../gen/leasehold/v1/admin_service_pb.js";
import { ObjectStorage, type Repository, RepositoryState } from "../../gen/leasehold/v1/repository_pb.js";
import type { Client } from "../client/index.js";
import { allPages } from "../client/pages.js";
import { collectLabel, collectOne, collectText, enumName, parseCount } from "./arguments.js";
import { type CallOptions, withCall, withClient } from "./connection.js";
import { formatDuration, parseDuration } from "./duration.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { ago, labelText, notice, type OutputOptions, printFacts, printJson, printTable, withOutput } from "./output.js";
import { withServerSettings } from "./server-settings.js";

interface Settings {
  readonly minIdle?: number;
  readonly maxWorkspaces?: number;
  readonly stablePath?: boolean;
  readonly credential?: string;
  readonly label?: Record<string, string>;
  readonly paused?: boolean;
  readonly salvageTtl?: number;
  readonly objectStorage?: keyof typeof ObjectStorage;
  readonly killStragglers?: boolean;
  readonly salvageIgnored?: readonly string[] | false;
  readonly shareDependencies?: boolean;
  readonly idleTtl?: number;
}

type Flags = CallOptions & OutputOptions;

export function addRepository(program: Command): void {
  const group = program
    .command("repository")
    .alias("repo")
    .description("manage the upstreams that workspaces are made of");
  addAdd(group);
  addList(group);
  addUpdate(group);
  addRemove(group);
  addRefresh(group);
}

function asAdmin(command: Command): Command {
  return withServerSettings(withOutput(withCall(command)));
}

function withSettings(command: Command): Command {
  return command
    .option("--min-idle <count>", "idle workspaces that are made ahead on each host", parseCount)
    .option("--max-workspaces <count>", "how many there may be on one host; 0 is the default, 100", parseCount)
    .option("--stable-path", "a workspace keeps one path for its whole life")
    .option("--credential <name>", "the server's credential for it (default: by URL)")
    .option("--label <key=value>", "a label; may be repeated", collectLabel)
    .option("--paused", "hand no workspace out for now")
    .option("--salvage-ttl <duration>", "how long salvages are kept; 0s is the default, 14d", parseDuration)
    .option(
      "--object-storage <way>",
      "how objects get into a workspace: auto, copy or link",
      collectOne(ObjectStorage, "OBJECT_STORAGE_"),
    )
    .option("--kill-stragglers", "end the processes that still use a workspace when its lease has ended")
    .option("--salvage-ignored <glob>", "ignored files that are salvaged nevertheless; may be repeated", collectText)
    .option("--share-dependencies", "give dependencies that one caller installed to all callers")
    .option("--idle-ttl <duration>", "idle ones above --min-idle go after this long; 0s is never", parseDuration);
}

function addAdd(group: Command): void {
  withSettings(asAdmin(group.command("add").description("register an upstream")))
    .argument("<url>", "https, http, ssh or user@host:path; a local path where the server allows it")
    .option("--name <name>", "its name (default: from the URL)")
    .action(async (url: string, options: Flags & Settings & { name?: string }) => {
      await withClient(options, async (client) => {
        const repository = { url, name: options.name ?? "", ...settingsOf(options) };
        const response = await client.admin.registerRepository({ repository }, { timeoutMs: options.timeout });
        if (options.output === "json") return printJson(RegisterRepositoryResponseSchema, response);
        printOne(response.repository);
      });
    });
}

function addList(group: Command): void {
  asAdmin(group.command("list").alias("ls").description("list the registered upstreams"))
    .argument("[name]", "only this one")
    .option("--label <key=value>", "only those with this label; may be repeated", collectLabel)
    .action(async (name: string | undefined, options: Flags & { label?: Record<string, string> }) => {
      await withClient(options, async (client) => {
        const response = await listAll(client, name ?? "", options.label ?? {}, options.timeout);
        if (options.output === "json") return printJson(ListRepositoriesResponseSchema, response);
        const head = ["NAME", "STATE", "BRANCH", "FETCHED", "LEASED", "IDLE", "OTHER", "MAX", "URL"];
        printTable(head, response.repositories.map(row), "no repositories");
        for (const { name: failed, problem } of response.repositories) {
          if (problem !== "") notice(`${failed}: ${problem}`);
        }
      });
    });
}

function addUpdate(group: Command): void {
  withSettings(asAdmin(group.command("update").description("change settings; those that are not named stay")))
    .argument("<name>", "the repository")
    .option("--url <url>", "another URL of the upstream")
    .option("--no-stable-path", "its path changes whenever a workspace is cleaned")
    .option("--no-paused", "hand workspaces out again")
    .option("--no-kill-stragglers", "report such processes and leave them alone")
    .option("--no-salvage-ignored", "salvage no ignored files; --salvage-ignored replaces the globs")
    .option("--no-share-dependencies", "give dependencies to the caller only that installed them")
    .option("--no-label", "remove all labels; --label replaces them")
    .action(async (name: string, options: Flags & Omit<Settings, "label"> & UpdateFlags) => {
      const repository = {
        ...settingsOf({ ...options, label: options.label === false ? {} : options.label } as Settings),
        ...(options.url !== undefined && { url: options.url }),
      };
      const paths = Object.keys(repository).map((key) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
      if (paths.length === 0) throw new CommandError("nothing to change: name a setting", exitCodes.usage);
      await withClient(options, async (client) => {
        const request = { name, repository, updateMask: { paths } };
        const response = await client.admin.updateRepository(request, { timeoutMs: options.timeout });
        if (options.output === "json") return printJson(UpdateRepositoryResponseSchema, response);
        printOne(response.repository);
      });
    });
}

interface UpdateFlags {
  readonly url?: string;
  readonly label?: Record<string, string> | false;
}

function addRemove(group: Command): void {
  asAdmin(group.command("remove").alias("rm").description("remove a repository and its workspaces; salvages stay"))
    .argument("<name>", "the repository")
    .option("--force", "end its leases, and remove quarantined workspaces too, after salvaging them")
    .action(async (name: string, options: Flags & { force?: boolean }) => {
      await withClient(options, async (client) => {
        const request = { name, force: options.force ?? false };
        await client.admin.removeRepository(request, { timeoutMs: options.timeout });
        notice(`repository ${name} is being removed`);
      });
    });
}

function addRefresh(group: Command): void {
  asAdmin(group.command("refresh").description("ask the upstream now; also retries a mirror that failed"))
    .argument("<name>", "the repository")
    .action(async (repository: string, options: Flags) => {
      await withClient(options, async (client) => {
        const response = await client.admin.refreshMirror({ repository }, { timeoutMs: options.timeout });
        if (options.output === "json") return printJson(RefreshMirrorResponseSchema, response);
        printOne(response.repository, [["changed", response.changed ? "yes" : "no"]]);
      });
    });
}

/** Exactly the settings that were given. */
function settingsOf(options: Settings): Partial<Omit<Repository, "$typeName" | "$unknown">> {
  return {
    ...(options.minIdle !== undefined && { minIdle: options.minIdle }),
    ...(options.maxWorkspaces !== undefined && { maxWorkspaces: options.maxWorkspaces }),
    ...(options.stablePath !== undefined && { stablePath: options.stablePath }),
    ...(options.credential !== undefined && { credential: options.credential }),
    ...(options.label !== undefined && { labels: options.label }),
    ...(options.paused !== undefined && { paused: options.paused }),
    ...(options.salvageTtl !== undefined && { salvageTtl: durationFromMs(options.salvageTtl) }),
    ...(options.objectStorage !== undefined && { objectStorage: ObjectStorage[options.objectStorage] }),
    ...(options.killStragglers !== undefined && { killStragglers: options.killStragglers }),
    ...(options.salvageIgnored !== undefined && { salvageIgnored: [...(options.salvageIgnored || [])] }),
    ...(options.shareDependencies !== undefined && { shareDependencies: options.shareDependencies }),
    ...(options.idleTtl !== undefined && { idleTtl: durationFromMs(options.idleTtl) }),
  };
}

async function listAll(
  client: Client,
  name: string,
  labels: Record<string, string>,
  timeoutMs: number,
): Promise<ListRepositoriesResponse> {
  const merged = create(ListRepositoriesResponseSchema);
  const ask = (pageToken: string) =>
    client.admin.listRepositories({ name, labels, pageSize: 1_000, pageToken }, { timeoutMs });
  for await (const { repositories } of allPages(ask)) merged.repositories.push(...repositories);
  return merged;
}

function row(repository: Repository): string[] {
  const {
    leased = 0,
    idle = 0,
    preparing = 0,
    cleaning = 0,
    quarantined = 0,
    parked = 0,
  } = repository.workspaces ?? {};
  return [
    repository.name,
    stateText(repository),
    repository.defaultBranch,
    repository.fetchTime === undefined ? "never" : `${ago(repository.fetchTime)} ago`,
    String(leased),
    String(idle),
    String(preparing + cleaning + quarantined + parked),
    String(repository.maxWorkspaces),
    repository.url,
  ];
}

function stateText({ state, progress, paused }: Repository): string {
  const total = Number(progress?.totalObjects ?? 0n);
  const part = total > 0 ? ` ${Math.floor((100 * Number(progress?.receivedObjects ?? 0n)) / total)}%` : "";
  return `${enumName(RepositoryState, state)}${part}${paused ? ", paused" : ""}`;
}

function printOne(repository: Repository | undefined, more: readonly (readonly [string, string])[] = []): void {
  if (repository === undefined) return;
  printFacts([
    ["name", repository.name],
    ["url", repository.url],
    ["forge", repository.forge],
    ["state", stateText(repository)],
    ["default branch", repository.defaultBranch],
    ["min idle", String(repository.minIdle)],
    ["max workspaces", String(repository.maxWorkspaces)],
    ["stable path", repository.stablePath ? "yes" : ""],
    ["credential", repository.credential],
    ["salvages kept", repository.salvageTtl === undefined ? "" : formatDuration(durationMs(repository.salvageTtl))],
    ["object storage", enumName(ObjectStorage, repository.objectStorage)],
    ["stragglers", repository.killStragglers ? "killed" : ""],
    ["ignored salvaged", repository.salvageIgnored.join(" ")],
    ["dependencies", repository.shareDependencies ? "shared" : ""],
    ["idle ones go", repository.idleTtl === undefined ? "" : `after ${formatDuration(durationMs(repository.idleTtl))}`],
    ["labels", labelText(repository.labels)],
    ["problem", repository.problem],
    ...more,
  ]);
}
