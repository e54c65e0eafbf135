/** Owns `leasehold heartbeat`: renews a lease once. */
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import type { Command } from "commander";
import { HeartbeatResponseSchema } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { type CallOptions, withCall, withClient } from "./connection.js";
import { formatDuration, parseDuration } from "./duration.js";
import { leaseProof, type ProofOptions, withProof } from "./lease-proof.js";
import { type OutputOptions, printFacts, printJson, withOutput } from "./output.js";

interface HeartbeatFlags extends ProofOptions, CallOptions, OutputOptions {
  readonly ttl?: number;
  readonly dependenciesInstalled?: boolean;
}

export function addHeartbeat(program: Command): void {
  const command = program
    .command("heartbeat")
    .description("renew a lease once; exit code 5 says that it has ended and work must stop");
  withOutput(withCall(withProof(command)))
    .option("--ttl <duration>", "a new time to live, which later heartbeats keep", parseDuration)
    .option("--dependencies-installed", "what the manifests say is installed: keep it when the lease ends")
    .action(async (id: string | undefined, options: HeartbeatFlags) => {
      const proof = leaseProof(id, options);
      await withClient(options, async (client) => {
        const { ttl, dependenciesInstalled = false } = options;
        const request = { ...proof, dependenciesInstalled, ...(ttl !== undefined && { ttl: durationFromMs(ttl) }) };
        const response = await client.workspaces.heartbeat(request, { timeoutMs: options.timeout });
        if (options.output === "json") return printJson(HeartbeatResponseSchema, response);
        const { lease } = response;
        printFacts([
          ["lease", lease?.leaseId ?? ""],
          ["expires in", lease?.remaining === undefined ? "" : formatDuration(durationMs(lease.remaining))],
        ]);
      });
    });
}
