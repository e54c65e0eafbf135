/** What agents of one workspace change is recorded once, for one of them, whoever scans when and whatever is killed. */
import { execFile } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { ChangeKind } from "../../gen/leasehold/v1/session_pb.js";
import { useAgents } from "../support/agent-site.js";
import { cleanEnvironment } from "../support/environment.js";
import { until } from "../support/until.js";

const site = useAgents();

it("E3 two agents scan one workspace at once, and a runner killed while it records loses and repeats nothing", async () => {
  const { server, run, changesOf } = site();
  const first = run("issue-18");
  const { sessionId } = await first.when({ type: "ready" });
  const make = (name: string, count: number) => `run seq ${count} | split -l 1 -a 4 -d - ${name}-`;
  for (const round of ["a", "b", "c"]) {
    await Promise.all([first.turn("ada", make(`ada-${round}`, 100)), first.turn("bob", make(`bob-${round}`, 100))]);
  }
  const shared = await changesOf(sessionId);
  const added = shared.filter(({ kind }) => kind === ChangeKind.ADDED).map(({ path }) => path);
  expect([added.length, new Set(added).size]).toEqual([600, 600]);
  // a file that was seen while it was being written is changed afterwards, and that is another difference
  const others = shared.filter(({ kind }) => kind !== ChangeKind.ADDED);
  expect(others.every(({ kind, path }) => kind === ChangeKind.MODIFIED && added.includes(path))).toBe(true);
  expect(shared.map(({ sequence }) => sequence)).toEqual(shared.map((_, index) => BigInt(index + 1)));
  const files = 2_500;
  const afterSequence = BigInt(shared.length);
  first.send("ada", make("many", files));
  const many = async () => (await changesOf(sessionId)).slice(shared.length);
  await until(
    "some are recorded",
    async () => {
      const { changes } = await server.client.sessions.listChanges({ sessionId, afterSequence, pageSize: 1 });
      return changes.length > 0;
    },
    40_000,
  );
  await first.kill9();
  expect((await many()).length).toBeLessThan(files);
  const second = run("issue-18");
  expect(await second.when({ type: "ready" })).toMatchObject({ sessionId, reopened: true });
  await second.turn("bob", "say there is nothing of mine");
  const recorded = await many();
  expect(recorded).toHaveLength(files);
  expect(new Set(recorded.map(({ path }) => path)).size).toBe(files);
  expect(new Set(recorded.map(({ agent }) => agent))).toEqual(new Set(["ada"]));
  expect(await second.end()).toBe(0);
}, 120_000);

it("E3 the command line records too, and nothing of a scan outlives the files that it was about", async () => {
  const { server } = site();
  const held = await server.client.acquire({ repository: "demo", waitMs: 30_000 });
  const { leaseId, leaseToken, path } = held;
  const { session } = await server.client.sessions.openSession({ leaseId, leaseToken });
  const sessionId = session?.sessionId ?? "";
  await server.client.sessions.attachAgent({ sessionId, leaseToken, agent: "cyd", backend: "hand" });
  writeFileSync(join(path, "by-hand.txt"), "1\n");
  const scan = async () => {
    const args = [
      resolve("dist/src/main.js"),
      "session",
      "scan",
      sessionId,
      "--agent",
      "cyd",
      "--address",
      server.address,
    ];
    const env = cleanEnvironment({ LEASEHOLD_LEASE_TOKEN: leaseToken });
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { env });
    return stdout + stderr;
  };
  expect(await scan()).toMatch(/1\s+cyd\s+ADDED\s+by-hand\.txt/);
  expect(await scan()).toContain("nothing differs");
  expect(existsSync(join(path, ".git/leasehold", sessionId))).toBe(true);
  const cleaned = await server.client.releaseAndClean(held);
  await expect(scan()).rejects.toThrow(`${sessionId} has no live lease`);
  expect(cleaned.problem).toBe("");
  const [salvage] = (await server.client.admin.listSalvages({})).salvages.filter((one) => one.leaseId === leaseId);
  expect(salvage).toMatchObject({ files: 1n, commits: 0n });
  expect(existsSync(join(cleaned.path, ".git"))).toBe(true);
  expect(existsSync(join(cleaned.path, ".git/leasehold"))).toBe(false);
});
