/** A server looks after its mirrors and its repositories of salvages by itself, and its holders do not notice. */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { Disposition } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { Client, Held } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { salvageOf } from "../support/unsaved.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
const limitMs = 120_000;
const repository = "kept";
let server: ServerProcess;
let client: Client;
let upstream: Upstream;
let root: string;

beforeAll(async () => {
  root = await servers.directory();
  server = await servers.start({ databaseUrl: await servers.database() });
  client = server.client;
  upstream = await Upstream.make(root, repository);
  await client.admin.registerRepository({ repository: { name: repository, url: upstream.url } });
}, limitMs);

const mirror = () => join(server.dataDir, "mirrors", `${repository}.git`);

function packs(path: string): string[] {
  return readdirSync(join(path, "objects", "pack")).filter((name) => name.endsWith(".pack"));
}

function bytes(path: string): number {
  return packs(path).reduce((sum, name) => sum + statSync(join(path, "objects", "pack", name)).size, 0);
}

/** What is measured, and so looked after, when a server begins. */
async function restart(): Promise<void> {
  await server.stop();
  await server.start();
}

async function unsaved(held: Held, content: string): Promise<void> {
  writeFileSync(join(held.path, "unsaved.txt"), content);
  await client.release(held, { disposition: Disposition.CLEAN, waitForClean: true });
}

it(
  "G7 the packs of many fetches become one, what was deleted upstream goes in its time, and salvages stay whole",
  async () => {
    await upstream.git("checkout", "--quiet", "-b", "topic");
    const noise = Array.from({ length: 80_000 }, () => Math.random().toString(36).slice(2)).join("\n");
    const gone = await upstream.commit({ "large.txt": noise });
    await upstream.git("checkout", "--quiet", "main");
    const topic = await client.acquire({ repository, revision: "topic" });
    await unsaved(topic, "topic\n");
    const discarded = await client.acquire({ repository });
    await unsaved(discarded, noise);
    for (let round = 0; round < 9; round++) {
      await upstream.commit({ "round.txt": `${round}\n` });
      await client.admin.refreshMirror({ repository });
    }
    const parked = await client.acquire({ repository, binding: "later" });
    await client.release(parked, { disposition: Disposition.PARK });
    await restart();
    await until("the packs are merged", () => packs(mirror()).length < 8);

    await upstream.git("push", "--quiet", "origin", ":topic");
    await client.admin.refreshMirror({ repository });
    const { salvageId, repositoryPath, ref } = await salvageOf(client, topic);
    await client.admin.discardSalvage({ salvageId: (await salvageOf(client, discarded)).salvageId });
    const formerTips = join(mirror(), "leasehold-former-tips");
    const days = 15 * 24 * 3_600_000;
    const tips = () => (existsSync(formerTips) ? readFileSync(formerTips, "utf8") : "");
    await until("the branch is gone", () => tips().includes(gone));
    await server.stop();
    const text = tips();
    writeFileSync(
      formerTips,
      text.replace(/^\d+/gm, (time) => String(Number(time) - days)),
    );
    const before = { mirror: bytes(mirror()), salvages: bytes(repositoryPath) };
    await server.start();

    // the salvage began at it, so it stays for as long as that
    await until("the discarded salvage's pack is gone", () => bytes(repositoryPath) < before.salvages - 300_000);
    expect(await git(mirror(), "cat-file", "-t", gone)).toBe("commit");
    const again = await client.acquire({ repository, restoreSalvageId: salvageId });
    expect(readFileSync(join(again.path, "unsaved.txt"), "utf8")).toBe("topic\n");
    await client.release(again, { disposition: Disposition.DISCARD });
    const back = await client.acquire({ repository, binding: "later" });
    expect(back.path).toBe(parked.path);
    const clone = join(root, "fetched");
    await git(root, "init", "--quiet", clone);
    await git(clone, "fetch", "--quiet", repositoryPath, ref);
    expect(await git(clone, "show", "FETCH_HEAD:unsaved.txt")).toContain("topic");
    expect(await git(mirror(), "fsck", "--full", "--strict", "--no-dangling")).toBe("");
  },
  limitMs,
);
