/** Owns `leasehold reset`: makes workspaces clean again from scratch. */
import type { Command } from "commander";
import { ResetResponseSchema } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { parsePosition } from "./arguments.js";
import { type CallOptions, withCall, withClient } from "./connection.js";
import { type OutputOptions, printJson, withOutput } from "./output.js";
import { withServerSettings } from "./server-settings.js";
import { printResults, resultsExitCode } from "./workspace-results.js";

interface ResetFlags extends CallOptions, OutputOptions {
  readonly workspace?: string;
  readonly repository?: string;
  readonly binding?: string;
  readonly expectedFence?: bigint;
  readonly force?: boolean;
  readonly abandonWork?: boolean;
}

export function addReset(program: Command, exit: (code: number) => void): void {
  const command = program
    .command("reset")
    .description("make workspaces clean again from scratch; name one workspace or one repository");
  withServerSettings(withOutput(withCall(command)))
    .option("--workspace <id>", "this workspace")
    .option("-r, --repository <name>", "all workspaces of this repository")
    .option("--binding <key>", "of that repository only the workspaces of this binding")
    .option("--expected-fence <fence>", "only if the workspace has this fence", parsePosition)
    .option("--force", "also where a lease lives, which ends")
    .option("--abandon-work", "destroy work that exists nowhere else; needs --workspace and --expected-fence")
    .action(async (options: ResetFlags) => {
      await withClient(options, async (client) => {
        const request = {
          workspaceId: options.workspace ?? "",
          repository: options.repository ?? "",
          binding: options.binding ?? "",
          expectedFence: options.expectedFence ?? 0n,
          force: options.force ?? false,
          abandonWork: options.abandonWork ?? false,
        };
        const response = await client.workspaces.reset(request, { timeoutMs: options.timeout });
        options.output === "json" ? printJson(ResetResponseSchema, response) : printResults(response.results);
        exit(resultsExitCode(response.results));
      });
    });
}
