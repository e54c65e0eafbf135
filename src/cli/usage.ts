/** Owns `leasehold usage`: what takes how many bytes on the disks of hosts. */
import type { Command } from "commander";
import { GetUsageResponseSchema } from "../../gen/leasehold/v1/admin_service_pb.js";
import type { HostUsage } from "../../gen/leasehold/v1/usage_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { type CallOptions, withCall, withClient } from "./connection.js";
import { ago, type OutputOptions, print, printJson, printTable, withOutput } from "./output.js";
import { withServerSettings } from "./server-settings.js";
import { sizeText } from "./size-text.js";

type Flags = CallOptions & OutputOptions & { readonly host?: string; readonly workspaces?: boolean };

export function addUsage(program: Command): void {
  withServerSettings(withOutput(withCall(program.command("usage"))))
    .description("show what takes how many bytes on the hosts' disks")
    .option("--host <name>", "only this host")
    .option("--workspaces", "also the 1,000 largest workspaces of each host, one by one")
    .action(async (options: Flags) => {
      await withClient(options, async (client) => {
        const request = { host: options.host ?? "", includeWorkspaces: options.workspaces ?? false };
        const usage = await client.admin.getUsage(request, { timeoutMs: options.timeout });
        if (options.output === "json") return printJson(GetUsageResponseSchema, usage);
        for (const host of usage.hosts) printHost(host, options.workspaces ?? false);
      });
    });
}

function printHost(usage: HostUsage, listsWorkspaces: boolean): void {
  const { host, totalBytes, freeBytes, lowBytes, minFreeBytes, diskLow, reserveBytes } = usage;
  const marks = `low below ${sizeText(lowBytes)}, nothing new below ${sizeText(minFreeBytes)}`;
  const reserve = reserveBytes > 0n ? `, reserve ${sizeText(reserveBytes)}` : "";
  const room = usage.checkTime
    ? `${sizeText(freeBytes)} of ${sizeText(totalBytes)} free (${marks}${reserve})`
    : "not looked at yet";
  print(`${host}: ${diskLow ? "DISK LOW, " : ""}${room}`);
  const rows = usage.repositories.map((one) => [
    one.repository,
    sizeText(one.mirrorBytes),
    `${sizeText(one.workspaceBytes)} in ${one.workspaces}${one.unmeasuredWorkspaces > 0 ? ` (${one.unmeasuredWorkspaces} not measured)` : ""}`,
    sizeText(one.salvageBytes),
    sizeText(one.dependencyBytes),
    sizeText(one.totalBytes),
    one.measureTime ? `${ago(one.measureTime)} ago` : "never",
  ]);
  const others = [
    ["submodules' mirrors", usage.submoduleMirrorBytes],
    ["trash", usage.trashBytes],
    ["indexes", usage.otherBytes],
  ] as const;
  for (const [name, bytes] of others) if (bytes > 0n) rows.push([`(${name})`, "", "", "", "", sizeText(bytes), ""]);
  rows.push([
    "(all)",
    "",
    "",
    "",
    "",
    sizeText(usage.usedBytes),
    usage.measureTime ? `${ago(usage.measureTime)} ago` : "",
  ]);
  const head = ["REPOSITORY", "MIRROR", "WORKSPACES", "SALVAGES", "DEPENDENCIES", "TOTAL", "MEASURED"];
  printTable(head, rows, "nothing");
  if (!listsWorkspaces) return;
  const sizes = usage.repositories
    .flatMap(({ repository, workspaceSizes }) => workspaceSizes.map((one) => ({ repository, ...one })))
    .sort((a, b) => Number(b.bytes - a.bytes));
  printTable(
    ["WORKSPACE", "REPOSITORY", "STATE", "SIZE", "MEASURED"],
    sizes.map(({ workspaceId, repository, state, bytes, measureTime }) => [
      workspaceId,
      repository,
      WorkspaceState[state],
      sizeText(bytes),
      `${ago(measureTime)} ago`,
    ]),
    "no workspaces were measured",
  );
}
