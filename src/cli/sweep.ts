/** Owns `leasehold sweep`: what nobody needs any more goes, now. */
import type { Command } from "commander";
import { type SweepResponse, SweepResponseSchema } from "../../gen/leasehold/v1/admin_service_pb.js";
import { type SweepEntry, SweepEntryKind, SweepOutcome } from "../../gen/leasehold/v1/sweep_pb.js";
import { enumName } from "./arguments.js";
import { type CallOptions, withCall, withClient } from "./connection.js";
import { notice, type OutputOptions, printJson, printTable, withOutput } from "./output.js";
import { withServerSettings } from "./server-settings.js";

interface SweepFlags extends CallOptions, OutputOptions {
  readonly dryRun?: boolean;
}

export function addSweep(program: Command): void {
  const command = program
    .command("sweep")
    .description("drop sessions whose issue is closed or that are too old, and workspaces that nobody wants");
  withServerSettings(withOutput(withCall(command, sweepTimeoutMs)))
    .option("-n, --dry-run", "only tell what would be done")
    .action(async (options: SweepFlags) => {
      await withClient(options, async (client) => {
        const request = { dryRun: options.dryRun ?? false };
        const response = await client.admin.sweep(request, { timeoutMs: options.timeout });
        if (options.output === "json") return printJson(SweepResponseSchema, response);
        print(response);
      });
    });
}

/** A forge is asked at most five times a second. */
const sweepTimeoutMs = 3_600_000;

function print({ entries, entriesLeftOut, sweep, joined }: SweepResponse): void {
  if (joined) notice("a sweep was under way; this is what it did");
  if (entries.length > 0) {
    printTable(["WHAT", "OUTCOME", "WHY", "WORKSPACE", "REPOSITORY", "SUBJECT"], entries.map(row), "nothing");
  }
  if (entriesLeftOut > 0) notice(`and ${entriesLeftOut} more`);
  process.stdout.write(`${sweep?.dryRun ? "dry run: " : ""}${sweep?.summary ?? ""}\n`);
}

function row(entry: SweepEntry): string[] {
  const kind = enumName(SweepEntryKind, entry.kind).toLowerCase();
  return [
    `${kind} ${entry.sessionId || entry.detail || entry.workspaceId}`,
    enumName(SweepOutcome, entry.outcome),
    entry.reason,
    entry.workspaceId,
    entry.repository,
    entry.subject,
  ];
}
