/** Owns `leasehold usage`: what takes how many bytes on the disks of hosts. */
import type { Command } from "commander";
import { GetUsageResponseSchema } from "../../gen/leasehold/v1/admin_service_pb.js";
import type { HostUsage } from "../../gen/leasehold/v1/usage_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { type CallOptions, withCall, withClient } from "./connection.js";
import { ago, type OutputOptions, print, printJson, printTable, withOutput } from "./output.js";
import { withServerSettings } from "./server-settings.js";

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
  const marks = `low below ${size(lowBytes)}, nothing new below ${size(minFreeBytes)}`;
  const reserve = reserveBytes > 0n ? `, reserve ${size(reserveBytes)}` : "";
  const room = usage.checkTime
    ? `${size(freeBytes)} of ${size(totalBytes)} free (${marks}${reserve})`
    : "not looked at yet";
  print(`${host}: ${diskLow ? "DISK LOW, " : ""}${room}`);
  const rows = usage.repositories.map((one) => [
    one.repository,
    size(one.mirrorBytes),
    `${size(one.workspaceBytes)} in ${one.workspaces}${one.unmeasuredWorkspaces > 0 ? ` (${one.unmeasuredWorkspaces} not measured)` : ""}`,
    size(one.salvageBytes),
    size(one.dependencyBytes),
    size(one.totalBytes),
    one.measureTime ? `${ago(one.measureTime)} ago` : "never",
  ]);
  const others = [
    ["submodules' mirrors", usage.submoduleMirrorBytes],
    ["trash", usage.trashBytes],
    ["indexes", usage.otherBytes],
  ] as const;
  for (const [name, bytes] of others) if (bytes > 0n) rows.push([`(${name})`, "", "", "", "", size(bytes), ""]);
  rows.push(["(all)", "", "", "", "", size(usage.usedBytes), usage.measureTime ? `${ago(usage.measureTime)} ago` : ""]);
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
      size(bytes),
      `${ago(measureTime)} ago`,
    ]),
    "no workspaces were measured",
  );
}

/** With three digits at most, as people read them. */
function size(bytes: bigint): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let number = Number(bytes);
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit++;
  }
  return `${number >= 100 || unit === 0 ? Math.round(number) : number.toFixed(1)} ${units[unit]}`;
}
