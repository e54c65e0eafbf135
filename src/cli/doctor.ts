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
    .option("--data-dir <path>", "the server's data directory (default: LEASEHOLD_DATA_DIR or .leasehold)")
    .option("--database-url <url>", "the Postgres to use (default: DATABASE_URL; without it, the embedded one)")
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
