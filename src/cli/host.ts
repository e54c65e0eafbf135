/** Owns `leasehold host`: the machines whose directories servers own. */
import { create } from "@bufbuild/protobuf";
import type { Command } from "commander";
import { ListHostsResponseSchema } from "../../gen/leasehold/v1/admin_service_pb.js";
import { allPages } from "../client/pages.js";
import { type CallOptions, withCall, withClient } from "./connection.js";
import { ago, notice, type OutputOptions, printJson, printTable, withOutput } from "./output.js";
import { withServerSettings } from "./server-settings.js";

type Flags = CallOptions & OutputOptions;

export function addHost(program: Command): void {
  const group = program.command("host").description("see and remove the hosts of the fleet");
  withServerSettings(withOutput(withCall(group.command("list").alias("ls").description("list the hosts")))).action(
    async (options: Flags) => {
      await withClient(options, async (client) => {
        const merged = create(ListHostsResponseSchema);
        const ask = (pageToken: string) =>
          client.admin.listHosts({ pageSize: 1_000, pageToken }, { timeoutMs: options.timeout });
        for await (const { hosts } of allPages(ask)) merged.hosts.push(...hosts);
        if (options.output === "json") return printJson(ListHostsResponseSchema, merged);
        const rows = merged.hosts.map((host) => [
          host.name,
          host.owned ? "yes" : "no",
          host.seenTime === undefined ? "never" : `${ago(host.seenTime)} ago`,
          String(host.leases),
          String(host.workspaces),
        ]);
        printTable(["HOST", "OWNED", "SEEN", "LEASES", "WORKSPACES"], rows, "no hosts");
      });
    },
  );
  withServerSettings(withOutput(withCall(group.command("remove").alias("rm"))))
    .description("remove a host that never comes back, and the rows of its workspaces; no disk is touched")
    .argument("<name>", "the host")
    .option("--force", "end the leases on it")
    .action(async (name: string, options: Flags & { force?: boolean }) => {
      await withClient(options, async (client) => {
        await client.admin.removeHost({ name, force: options.force ?? false }, { timeoutMs: options.timeout });
        notice(`host ${name} is removed`);
      });
    });
}
