/** Owns `leasehold heartbeat`: renews a lease once. */
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import type { Command } from "commander";
import { HeartbeatResponseSchema } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { type CallOptions, withCall, withClient } from "./connection.js";
import { formatDuration, parseDuration } from "./duration.js";
import { leaseProof, type ProofOptions, withProof } from "./lease-proof.js";
import { type OutputOptions, printFacts, printJson, withOutput } from "./output.js";

export function addHeartbeat(program: Command): void {
  const command = program
    .command("heartbeat")
    .description("renew a lease once; exit code 5 says that it has ended and work must stop");
  withOutput(withCall(withProof(command)))
    .option("--ttl <duration>", "a new time to live, which later heartbeats keep", parseDuration)
    .action(async (id: string | undefined, options: ProofOptions & CallOptions & OutputOptions & { ttl?: number }) => {
      const proof = leaseProof(id, options);
      await withClient(options, async (client) => {
        const request = { ...proof, ...(options.ttl !== undefined && { ttl: durationFromMs(options.ttl) }) };
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
