/** `session close` and `session scan` from beside the process that holds the lease. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { SessionState } from "../../gen/leasehold/v1/session_pb.js";
import { leasehold, temporaryDirectory } from "../support/command-line.js";
import { leaseOf, type Script, serveScript, workspaceOf } from "../support/scripted-server.js";

test("G8 session close proves the right to an active session as heartbeat and release do, and a forced one needs no proof", async () => {
  const asked: unknown[] = [];
  const sessions: Script["sessions"] = {
    closeSession: ({ sessionId, force, leaseToken }) => {
      asked.push([sessionId, force, leaseToken]);
      return {};
    },
  };
  await using server = await serveScript({ sessions });
  const close = async (...args: string[]) => {
    const variable = { LEASEHOLD_LEASE_TOKEN: "from-environment" };
    expect(await leasehold(server.address, ["session", "close", "n1", ...args], variable)).toMatchObject({ status: 0 });
  };
  await close();
  await close("--lease-token", "given");
  await close("--force");
  expect(asked).toEqual([
    ["n1", false, "from-environment"],
    ["n1", false, "given"],
    ["n1", true, ""],
  ]);
});

test("G8 session scan where the workspace is not, or without git, says so in one line", async () => {
  await using directory = await temporaryDirectory();
  let path = "/no/such/workspace";
  const sessions: Script["sessions"] = {
    getSession: ({ sessionId }) => ({
      session: { sessionId, path, host: "elsewhere", leaseId: "w17.4", fence: 4n, state: SessionState.ACTIVE },
    }),
  };
  const getWorkspace = () => ({ workspace: workspaceOf(path, leaseOf()) });
  await using server = await serveScript({ sessions, getWorkspace });
  const scan = (environment: NodeJS.ProcessEnv = {}) =>
    leasehold(server.address, ["session", "scan", "n1", "--agent", "ada", "--lease-token", "t"], environment);
  const away = await scan();
  expect(away, away.stderr).toMatchObject({ status: 4, stdout: "" });
  expect(away.stderr).toMatch(/^leasehold: \/no\/such\/workspace has no \.git directory: [^\n]*\n$/);
  path = directory.path;
  await mkdir(join(path, ".git"));
  const without = await scan({ PATH: directory.path });
  expect(without, without.stderr).toMatchObject({ status: 4, stdout: "" });
  expect(without.stderr).toMatch(/^leasehold: git cannot be started: [^\n]*\n$/);
});
