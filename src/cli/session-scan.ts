/** Owns `leasehold session scan`: records what an agent changed, from beside the process that holds the lease. */
import { create } from "@bufbuild/protobuf";
import type { Command } from "commander";
import { ChangeKind } from "../../gen/leasehold/v1/session_pb.js";
import { RecordChangeResponseSchema } from "../../gen/leasehold/v1/session_service_pb.js";
import { enumName } from "./arguments.js";
import { type CallOptions, withCall, withClient } from "./connection.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { notice, type OutputOptions, printJson, printTable, withOutput } from "./output.js";

interface ScanFlags extends CallOptions, OutputOptions {
  readonly agent?: string;
  readonly leaseToken?: string;
}

export function addScan(group: Command): void {
  withOutput(withCall(group.command("scan").description("record what differs in the workspace since the last scan")))
    .argument("[id]", "the session (default: LEASEHOLD_SESSION_ID)")
    .option("--agent <name>", "the agent that changed it (default: LEASEHOLD_AGENT)")
    .option(
      "--lease-token <token>",
      "proves the right to the session; others on this machine can read it here, so better: LEASEHOLD_LEASE_TOKEN",
    )
    .action(async (given: string | undefined, options: ScanFlags) => {
      const sessionId = required(given, "LEASEHOLD_SESSION_ID", "no session: name it");
      const agent = required(options.agent, "LEASEHOLD_AGENT", "no agent: give --agent");
      const leaseToken = required(options.leaseToken, "LEASEHOLD_LEASE_TOKEN", "no lease token: give --lease-token");
      await withClient(options, async (client) => {
        const session = await client.session(sessionId, leaseToken, { timeoutMs: options.timeout });
        const { changes, problems } = await explained(session.scan({ agent }));
        for (const problem of problems) notice(`not read: ${problem}`);
        const response = create(RecordChangeResponseSchema, { changes: [...changes] });
        if (options.output === "json") return printJson(RecordChangeResponseSchema, response);
        const rows = changes.map((change) => [
          String(change.sequence),
          change.agent,
          enumName(ChangeKind, change.kind),
          change.previousPath === "" ? change.path || change.commit : `${change.previousPath} -> ${change.path}`,
        ]);
        printTable(["#", "AGENT", "KIND", "PATH"], rows, "nothing differs");
      });
    });
}

/** That the workspace is not here, not readable or not whole, or that there is no git, is no defect. */
async function explained<T>(scanning: Promise<T>): Promise<T> {
  try {
    return await scanning;
  } catch (error) {
    const [{ GitError }, { ScanError }] = await Promise.all([
      import("../client/git-command.js"),
      import("../client/scan.js"),
    ]);
    const isOfFiles = error instanceof Error && "syscall" in error;
    if (!(error instanceof GitError || error instanceof ScanError || isOfFiles)) throw error;
    throw new CommandError(error.message, exitCodes.conflict);
  }
}

function required(given: string | undefined, variable: string, missing: string): string {
  const value = given || process.env[variable];
  if (!value) throw new CommandError(`${missing} or ${variable}`, exitCodes.usage);
  return value;
}
