import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { start, temporaryDirectory } from "../support/command-line.js";
import { granted, leaseLost, leaseOf, renewed, type Script, serveScript } from "../support/scripted-server.js";

interface Outcome {
  readonly status: number | null;
  readonly stderr: string;
  /** Whether the command ran at all. */
  readonly ran: boolean;
  readonly released: boolean;
}

/** Runs `touch ran` after an installation; `heartbeat` is told that the dependencies are installed. */
async function afterInstallation(
  heartbeat: NonNullable<Script["heartbeat"]>,
  meanwhile: (pid: number) => void = () => {},
) {
  await using directory = await temporaryDirectory();
  let released = false;
  let pid = 0;
  await using server = await serveScript({
    acquire: () => granted(directory.path, leaseOf({ ttlMs: 3_600_000 })),
    heartbeat: (request, context) => {
      if (request.dependenciesInstalled) meanwhile(pid);
      return heartbeat(request, context);
    },
    release: () => {
      released = true;
      return {};
    },
  });
  const kept = ["--dependency-manifest", "auto", "--keep-path", "node_modules", "--install", "true"];
  const running = start(server.address, ["run", "-r", "demo", ...kept, "--", "touch", "ran"]);
  pid = running.child.pid as number;
  const { status, stderr } = await running.finished;
  return { status, stderr, ran: existsSync(join(directory.path, "ran")), released } satisfies Outcome;
}

test("G8 A3 a lease that is lost while the installation ends starts no command", async () => {
  const outcome = await afterInstallation(() => {
    throw leaseLost("RECLAIMED");
  });
  expect(outcome).toMatchObject({ status: 120, ran: false, released: false });
  expect(outcome.stderr).toContain("lease w17.4 is lost: it ended as RECLAIMED; the command is not started");
});

test("G8 a signal while the server is told of the installation starts no command, and the workspace is given back", async () => {
  const answer: NonNullable<Script["heartbeat"]> = async () => {
    // the signal is on its way; the answer may not be faster
    await new Promise((resolve) => setTimeout(resolve, 500));
    return renewed();
  };
  const outcome = await afterInstallation(answer, (pid) => process.kill(pid, "SIGTERM"));
  expect(outcome).toMatchObject({ status: 143, ran: false, released: true });
});

test("G8 an installation that was heard of is followed by the command", async () => {
  expect(await afterInstallation(() => renewed())).toMatchObject({ status: 0, ran: true, released: true });
});
