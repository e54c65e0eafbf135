/** A repository whose upstream has moved: nobody is handed a workspace of the old one. */
import { join } from "node:path";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { beforeAll, expect, it, vi } from "vitest";
import { Disposition, WorkspaceSource } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { AcquireFields, Client, Held } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
vi.setConfig({ testTimeout: 60_000 });
const fresh = { maxStaleness: durationFromMs(3600_000) };
let client: Client;
let databaseUrl: string;
let root: string;

beforeAll(async () => {
  root = await servers.directory();
  databaseUrl = await servers.database();
  client = (await servers.start({ databaseUrl })).client;
}, 60_000);

/** A registered repository, and where its upstream will move to, with the very same refs. */
async function register(name: string, maxWorkspaces: number) {
  const upstream = await Upstream.make(root, name);
  await client.admin.registerRepository({ repository: { name, url: upstream.url, maxWorkspaces } });
  const moved = join(root, `${name}-moved.git`);
  await git(root, "clone", "--quiet", "--mirror", upstream.url, moved);
  const move = () =>
    client.admin.updateRepository({ name, repository: { url: moved }, updateMask: { paths: ["url"] } });
  const acquire = (fields: AcquireFields = {}) => client.acquire({ repository: name, ...fresh, ...fields });
  return { upstream, moved, move, acquire };
}

const originOf = (held: Held) => git(held.path, "config", "--get", "remote.origin.url");

it("A2 B5 after an upstream has moved, idle workspaces get its new URL before they are handed out, whatever was asked", async () => {
  const { upstream, moved, move, acquire } = await register("moving", 3);
  const commit = await upstream.git("rev-parse", "HEAD");
  const idle = [await acquire(), await acquire(), await acquire({ binding: "desk" })];
  for (const held of idle.slice(0, 2)) await client.releaseAndClean(held);
  await client.release(idle[2] as Held, { disposition: Disposition.PARK });
  const warm = await acquire();
  expect(warm.answer.source).toBe(WorkspaceSource.WARM);
  await client.releaseAndClean(warm);
  await move();
  for (const fields of [{}, { revision: commit }]) {
    const held = await acquire(fields);
    expect(await originOf(held)).toBe(moved);
    expect(held.answer.source).toBe(WorkspaceSource.REUSED);
  }
  // its holder's own `.git` comes back as it was left
  const bound = await acquire({ binding: "desk" });
  expect(bound.answer.source).toBe(WorkspaceSource.BOUND);
  expect(await originOf(bound)).toBe(upstream.url);
});

it("A2 B5 a mirror of the old upstream counts as never fetched, however stale it may be", async () => {
  const { moved, move, acquire } = await register("stale", 2);
  await client.release(await acquire());
  const clone = join(root, "stale-clone");
  await git(root, "clone", "--quiet", moved, clone);
  await git(clone, "commit", "--quiet", "--allow-empty", "--message", "Only there");
  await git(clone, "push", "--quiet", "origin", "HEAD");
  await move();
  const held = await acquire();
  expect(await git(held.path, "log", "-1", "--format=%s")).toBe("Only there");
});

it("A2 B5 who waited in line while the upstream moved gets a workspace of the new one", async () => {
  const { moved, move, acquire } = await register("queued", 1);
  const blocker = await acquire();
  const waiting = acquire({ waitMs: 30_000 });
  await until("it waits", async () => {
    const [row] = await servers.sql(databaseUrl)<{ n: number }[]>`
      select count(*)::int as n from tickets where state = 'WAITING'`;
    return row?.n === 1;
  });
  await move();
  await client.release(blocker);
  expect(await originOf(await waiting)).toBe(moved);
});
