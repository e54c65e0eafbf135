/** Owns how `heartbeat` and `release` are told which lease, and what proves the right to it. */
import type { Command } from "commander";
import { CommandError, exitCodes } from "./exit-codes.js";

export interface ProofOptions {
  readonly leaseToken?: string;
}

export function withProof(command: Command): Command {
  return command
    .argument("[lease-id]", "name of the lease (default: LEASEHOLD_LEASE_ID)")
    .option(
      "--lease-token <token>",
      "proves the right to the lease; others on this machine can read it here, so better: LEASEHOLD_LEASE_TOKEN",
    );
}

export function leaseProof(given: string | undefined, options: ProofOptions): { leaseId: string; leaseToken: string } {
  const leaseToken = options.leaseToken || process.env.LEASEHOLD_LEASE_TOKEN;
  if (!leaseToken)
    throw new CommandError("no lease token: give --lease-token or LEASEHOLD_LEASE_TOKEN", exitCodes.usage);
  const leaseId = given || process.env.LEASEHOLD_LEASE_ID;
  if (!leaseId) throw new CommandError("no lease id: name it, or set LEASEHOLD_LEASE_ID", exitCodes.usage);
  return { leaseId, leaseToken };
}
