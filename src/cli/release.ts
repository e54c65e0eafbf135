/** Owns `leasehold release`: ends a lease and gives its workspace back. */
import type { Command } from "commander";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { Disposition, ReleaseResponseSchema, SalvageState } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { collectOne, enumName } from "./arguments.js";
import { type CallOptions, withCall, withClient } from "./connection.js";
import { leaseProof, type ProofOptions, withProof } from "./lease-proof.js";
import { type OutputOptions, printFacts, printJson, withOutput } from "./output.js";

interface ReleaseFlags extends ProofOptions, CallOptions, OutputOptions {
  readonly disposition: Exclude<keyof typeof Disposition, "UNSPECIFIED">;
  readonly waitForClean?: boolean;
  readonly dependenciesInstalled?: boolean;
}

export function addRelease(program: Command): void {
  const command = program.command("release").description("end a lease and give its workspace back");
  withOutput(withCall(withProof(command)))
    .option(
      "--disposition <what>",
      "`clean` it for the next lease, `discard` its directory, or `park` it for the lease's binding",
      collectOne(Disposition, "DISPOSITION_"),
      "CLEAN",
    )
    .option("--wait-for-clean", "answer only when the workspace is clean, or its cleaning has failed")
    .option("--dependencies-installed", "what the manifests say is installed: keep it for the next lease")
    .action(async (id: string | undefined, options: ReleaseFlags) => {
      const proof = leaseProof(id, options);
      await withClient(options, async (client) => {
        const request = {
          ...proof,
          disposition: Disposition[options.disposition],
          waitForClean: options.waitForClean ?? false,
          dependenciesInstalled: options.dependenciesInstalled ?? false,
        };
        const response = await client.workspaces.release(request, { timeoutMs: options.timeout });
        if (options.output === "json") return printJson(ReleaseResponseSchema, response);
        printFacts([
          ["lease", proof.leaseId],
          ["workspace", response.workspace?.workspaceId ?? ""],
          ["state", response.workspace === undefined ? "" : enumName(WorkspaceState, response.workspace.state)],
          ["salvage", response.salvage?.salvageId ?? enumName(SalvageState, response.salvageState).toLowerCase()],
          ["already released", response.alreadyReleased ? "yes" : ""],
          ["problem", response.workspace?.problem ?? ""],
        ]);
      });
    });
}
