/** Owns `leasehold acquire`: leases a workspace and leaves the rest to whoever asked. */
import type { Command } from "commander";
import { type LeaseOptions, withLease } from "./acquire-options.js";
import { acquireAndPrint } from "./acquired.js";
import { type ConnectionOptions, withClient, withConnection } from "./connection.js";
import { type OutputOptions, withOutput } from "./output.js";

export function addAcquire(program: Command): void {
  const command = program
    .command("acquire")
    .description("lease a workspace; renew it with `heartbeat` and end it with `release`");
  withOutput(withConnection(withLease(command)))
    .option("--host <name>", "on which host; `*` is any (default: the answering server's)")
    .action(async (options: LeaseOptions & ConnectionOptions & OutputOptions) => {
      await withClient(options, (client) => acquireAndPrint(client, options));
    });
}
