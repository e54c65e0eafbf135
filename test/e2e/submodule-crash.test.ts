/** kill -9 of the server while submodules are being mirrored, placed, or replaced: the next lease is a fresh clone. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { cloneRecursively, describeClone } from "../support/recursive-clone.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { addSubmodule, commitFile } from "../support/submodules.js";
import { salvagesOf } from "../support/unsaved.js";
import { until } from "../support/until.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let root: string;
let top: Upstream;
let made = 0;

beforeAll(async () => {
  root = await servers.directory();
  const files = Object.fromEntries(Array.from({ length: 1_500 }, (_, n) => [`d${n % 30}/f${n}.txt`, `${n}\n`]));
  const sub = await Upstream.make(root, "sub", files);
  top = await Upstream.make(root, "top");
  await addSubmodule(top, sub, "../sub.git", "lib/sub");
  server = await servers.start();
}, 60_000);

/** What is below a directory of the server, as far as it can be read while it changes. */
function names(...directory: string[]): readonly string[] {
  try {
    return readdirSync(join(server.dataDir, ...directory), { recursive: directory[0] === "mirrors" }).map(String);
  } catch {
    return [];
  }
}

/** Whether the server was killed while `isAt`; false if the call was done before that was seen. */
async function killedAt(isAt: () => boolean, call: Promise<unknown>): Promise<boolean> {
  let done = false;
  const ended = call.then(
    () => (done = true),
    () => (done = true),
  );
  while (!done && !isAt()) await turn();
  const hit = !done;
  await server.kill9();
  await ended;
  server.client.close();
  await server.start();
  return hit;
}

async function expectFresh(): Promise<void> {
  const held = await server.client.acquire({ repository: top.url });
  const reference = await cloneRecursively(root, top.url, `reference-${++made}`);
  expect(await describeClone(held.path)).toEqual(await describeClone(reference));
  await server.client.releaseAndClean(held);
  expect(await salvagesOf(server.client, { leaseId: held.leaseId })).toEqual([]);
  await until("nothing half made is left", () =>
    names("workspaces", "top").every((name) => /^w\d+(\.\d+)?$/.test(name)),
  );
}

const isPlacing = () => names("workspaces", "top").some((name) => name.endsWith(".module-new"));

describe("A5 after kill -9 the next lease is a fresh recursive clone, where it came", { timeout: 120_000 }, () => {
  it("while the mirror of a submodule was being made", async () => {
    const acquire = server.client.acquire({ repository: top.url });
    const isMirroring = () =>
      names("mirrors").some((name) => name.startsWith("top.git")) && names("mirrors", ".staging").length > 0;
    expect(await killedAt(isMirroring, acquire)).toBe(true);
    await expectFresh();
  });

  it("while a submodule was being placed for a ticket, in a workspace that moves to another commit", async () => {
    for (let hit = false; !hit; ) {
      await commitFile(top, "moved.txt", `${++made}\n`);
      hit = await killedAt(isPlacing, server.client.acquire({ repository: top.url }));
    }
    await expectFresh();
  });

  it("while a submodule was being placed after a lease", async () => {
    let held = await server.client.acquire({ repository: top.url });
    for (let hit = false; !hit; ) {
      await commitFile(top, "moved.txt", `${++made}\n`);
      hit = await killedAt(isPlacing, server.client.releaseAndClean(held));
      if (!hit) held = await server.client.acquire({ repository: top.url });
    }
    await expectFresh();
  });
});
