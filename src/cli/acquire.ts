/** Owns `leasehold acquire`: leases a workspace and leaves the rest to whoever asked. */
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { Command } from "commander";
import { AcquireResponseSchema, WorkspaceSource } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { acquireOptions, type LeaseOptions, withLease } from "./acquire-options.js";
import { enumName } from "./arguments.js";
import { withCloneProgress } from "./clone-progress.js";
import { type ConnectionOptions, withClient, withConnection } from "./connection.js";
import { formatDuration } from "./duration.js";
import { defaultHolder } from "./holder.js";
import { type OutputOptions, printFacts, printJson, withOutput } from "./output.js";

export function addAcquire(program: Command): void {
  const command = program
    .command("acquire")
    .description("lease a workspace; renew it with `heartbeat` and end it with `release`");
  withOutput(withConnection(withLease(command)))
    .option("--host <name>", "on which host; `*` is any (default: the answering server's)")
    .action(async (options: LeaseOptions & ConnectionOptions & OutputOptions) => {
      await withClient(options, async (client) => {
        const { response } = await withCloneProgress(client, options.repository, () =>
          client.acquireOnly(acquireOptions(options, defaultHolder())),
        );
        if (options.output === "json") return printJson(AcquireResponseSchema, response);
        const { lease, workspace } = response;
        printFacts([
          ["lease", lease?.leaseId ?? ""],
          ["lease token", response.leaseToken],
          ["path", workspace?.path ?? ""],
          ["host", workspace?.host ?? ""],
          ["commit", response.resolvedCommit],
          ["branch", workspace?.branch ?? ""],
          ["source", enumName(WorkspaceSource, response.source)],
          ["expires in", lease?.remaining === undefined ? "" : formatDuration(durationMs(lease.remaining))],
        ]);
      });
    });
}
