/** Owns `leasehold doctor`: looks whether this machine can serve, and says what to do where it cannot. */
import type { Command } from "commander";
import { withConnection } from "./connection.js";
import { type DoctorFlags, type Finding, findings } from "./doctor-checks.js";
import { verifyWorkspaces } from "./doctor-verify.js";
import { exitCodes } from "./exit-codes.js";
import { print, printTable, withOutput } from "./output.js";

export function addDoctor(program: Command, exit: (code: number) => void): void {
  const command = program
    .command("doctor")
    .description("look whether this machine can serve; exit code 1 says that something essential is missing");
  withOutput(withConnection(command))
    .option("--config <file>", "the server's configuration file (default: LEASEHOLD_CONFIG or ./leasehold.yaml)")
    .option("--data-dir <path>", "the server's data directory (default: as configured)")
    .option("--database-url <url>", "the Postgres to use (default: as configured; without it, the embedded one)")
    .option("--holder-user <user>", "the user that jobs run as (default: as configured, or the server's own)")
    .option("--verify", "have every idle workspace of the fleet read whole and compared with a fresh clone")
    .action(async (options: DoctorFlags & { verify?: boolean }) => {
      const checked = await findings(options);
      const found = options.verify ? [...checked, ...(await verifyWorkspaces(options))] : checked;
      if (options.output === "json") print(JSON.stringify({ checks: found }, undefined, 2));
      else printTable(["", "CHECK", "FOUND"], found.map(row), "nothing to check");
      exit(found.some(({ verdict }) => verdict === "broken") ? exitCodes.internal : exitCodes.ok);
    });
}

function row({ verdict, check, found }: Finding): string[] {
  return [verdict, check, found];
}
