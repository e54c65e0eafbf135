/** Owns `leasehold reclaim`: takes workspaces back. */
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { Command } from "commander";
import { ReclaimResponseSchema } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { collect } from "./arguments.js";
import { type CallOptions, withCall, withClient } from "./connection.js";
import { parseDuration } from "./duration.js";
import { exitCodes } from "./exit-codes.js";
import { type OutputOptions, printJson, withOutput } from "./output.js";
import { withServerSettings } from "./server-settings.js";
import { printResults, resultsExitCode } from "./workspace-results.js";

interface ReclaimFlags extends CallOptions, OutputOptions {
  readonly repository?: string;
  readonly host?: string;
  readonly olderThan?: number;
  readonly lease?: string[];
  readonly workspace?: string[];
  readonly includeParked?: boolean;
  readonly dryRun?: boolean;
}

export function addReclaim(program: Command, exit: (code: number) => void): void {
  const command = program
    .command("reclaim")
    .description("remove idle or quarantined workspaces, and end named leases; work that exists nowhere else is kept");
  withServerSettings(withOutput(withCall(command)))
    .option("-r, --repository <name>", "idle workspaces of this repository; narrows --lease and --workspace")
    .option("--host <name>", "idle workspaces on this host; narrows likewise")
    .option("--older-than <duration>", "only those that have been idle for at least this long", parseDuration)
    .option("--include-parked", "parked ones too")
    .option("--lease <id>", "end this live lease; may be repeated", collect)
    .option("--workspace <id>", "this workspace, in any state but leased; may be repeated", collect)
    .option("-n, --dry-run", "only tell what would be done")
    .action(async (options: ReclaimFlags) => {
      await withClient(options, async (client) => {
        const request = {
          repository: options.repository ?? "",
          host: options.host ?? "",
          ...(options.olderThan !== undefined && { olderThan: durationFromMs(options.olderThan) }),
          includeParked: options.includeParked ?? false,
          leaseIds: options.lease ?? [],
          workspaceIds: options.workspace ?? [],
          dryRun: options.dryRun ?? false,
        };
        const response = await client.workspaces.reclaim(request, { timeoutMs: options.timeout });
        options.output === "json" ? printJson(ReclaimResponseSchema, response) : printResults(response.results);
        exit(options.dryRun ? exitCodes.ok : resultsExitCode(response.results));
      });
    });
}
