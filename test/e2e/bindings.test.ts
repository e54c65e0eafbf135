/** A binding brings its caller back to the files that it left. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, statSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Code } from "@connectrpc/connect";
import { beforeAll, beforeEach, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { LeaseEndReason } from "../../gen/leasehold/v1/lease_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { type AcquireResponse, Disposition, WorkspaceSource } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let upstream: Upstream;
let repositories = 0;
let root: string;
let name: string;

beforeAll(async () => {
  root = await servers.directory();
  server = await servers.start();
  client = server.client;
});

beforeEach(async () => {
  name = `bound-${++repositories}`;
  upstream = await Upstream.make(root, name);
  await client.admin.registerRepository({ repository: { name, url: upstream.url, maxWorkspaces: 2 } });
});

const acquire = (fields: Parameters<Client["workspaces"]["acquire"]>[0] = {}) =>
  client.workspaces.acquire({ repository: name, binding: "desk", ...fields });

function release(acquired: AcquireResponse, disposition = Disposition.PARK) {
  const { lease, leaseToken } = acquired;
  return client.workspaces.release({ leaseId: lease?.leaseId ?? "", leaseToken, disposition, waitForClean: true });
}

const pathOf = (acquired: AcquireResponse): string => acquired.workspace?.path ?? "";
const idOf = (acquired: AcquireResponse): string => acquired.workspace?.workspaceId ?? "";

it("D1 what was parked comes back to its binding untouched, at its path, and only remote-tracking refs are newer", async () => {
  const first = await acquire();
  expect(first.source).toBe(WorkspaceSource.CREATED);
  expect([first.lease?.binding, first.workspace?.binding]).toEqual(["desk", "desk"]);
  const path = pathOf(first);
  await writeFile(join(path, "notes.txt"), "mine\n");
  await writeFile(join(path, "top.log"), "ignored\n");
  await git(path, "checkout", "-q", "-b", "topic");
  await writeFile(join(path, "README.md"), "staged\n");
  await git(path, "add", "README.md");
  await git(path, "config", "core.fsmonitor", "/bin/evil");
  const before = await git(path, "-c", "core.fsmonitor=", "status", "--porcelain=v2", "--branch", "--ignored");
  const { ino, mtimeMs } = statSync(join(path, "notes.txt"));
  const parked = await release(first);
  expect(parked.workspace).toMatchObject({ state: WorkspaceState.PARKED, path, binding: "desk" });
  const tip = await upstream.commit({ "new.txt": "new\n" });
  const second = await acquire();
  expect(second.source).toBe(WorkspaceSource.BOUND);
  expect([idOf(second), pathOf(second)]).toEqual([idOf(first), path]);
  expect(second.resolvedCommit).toBe(tip);
  expect(second.lease?.commit).toBe(first.lease?.commit);
  expect(await git(path, "-c", "core.fsmonitor=", "status", "--porcelain=v2", "--branch", "--ignored")).toBe(before);
  expect(statSync(join(path, "notes.txt"))).toMatchObject({ ino, mtimeMs });
  expect((await git(path, "rev-parse", "origin/main")).trim()).toBe(tip);
  expect((await git(path, "-c", "core.fsmonitor=", "fsck", "--full", "--no-dangling")).trim()).toBe("");
  await release(second, Disposition.CLEAN);
});

it("D1 expiry of a bound lease parks; of another it cleans", async () => {
  const bound = await acquire({ ttl: { seconds: 5n, nanos: 0 } });
  const plain = await acquire({ binding: "", ttl: { seconds: 5n, nanos: 0 } });
  await writeFile(join(pathOf(bound), "notes.txt"), "mine\n");
  await client.whenIn(idOf(bound), WorkspaceState.PARKED);
  await client.whenIn(idOf(plain), WorkspaceState.IDLE);
  const kinds = (await client.events(1n, { workspaceId: idOf(bound) })).map(({ kind }) => kind);
  expect(kinds.slice(-2)).toEqual([EventKind.LEASE_ENDED, EventKind.WORKSPACE_PARKED]);
  const again = await acquire();
  expect(readFileSync(join(pathOf(again), "notes.txt"), "utf8")).toBe("mine\n");
  const late = refusal(release(bound));
  expect(await late).toMatchObject({ reason: "LEASE_LOST", metadata: { end_reason: "EXPIRED" } });
  await release(again, Disposition.CLEAN);
});

it("D1 a binding that is held waits for its workspace, before nobody, or is refused", async () => {
  const holder = await acquire();
  const refused = { code: Code.FailedPrecondition, reason: "BINDING_IN_USE", metadata: { binding: "desk" } };
  expect(await refusal(acquire())).toMatchObject(refused);
  const waiting = acquire({ wait: { seconds: 20n, nanos: 0 } });
  // another one is served meanwhile
  const other = await acquire({ binding: "bench", wait: { seconds: 5n, nanos: 0 } });
  expect(idOf(other)).not.toBe(idOf(holder));
  await release(holder);
  const next = await waiting;
  expect([next.source, idOf(next)]).toEqual([WorkspaceSource.BOUND, idOf(holder)]);
  await release(other, Disposition.CLEAN);
  await release(next, Disposition.CLEAN);
});

it("D1 parked workspaces count, and the least recently parked is salvaged and given up before anybody is refused", async () => {
  const old = await acquire();
  await writeFile(join(pathOf(old), "notes.txt"), "mine\n");
  await release(old);
  const newer = await acquire({ binding: "bench" });
  await release(newer);
  const third = await acquire({ binding: "" });
  expect(idOf(third)).toBe(idOf(old));
  expect(existsSync(join(pathOf(third), "notes.txt"))).toBe(false);
  await release(third, Disposition.CLEAN);
  const back = await acquire();
  expect(back.source).not.toBe(WorkspaceSource.BOUND);
  expect(back.lostSalvageId).toBe(`s${old.lease?.leaseId.slice(1)}`);
  await release(back, Disposition.CLEAN);
  // told once: what this lease left is nothing
  const after = await acquire();
  expect(after.lostSalvageId).toBe("");
  await release(after, Disposition.CLEAN);
});

it("D1 a parked workspace that is no repository any more gives its work to the one that takes its place", async () => {
  const first = await acquire();
  await writeFile(join(pathOf(first), "notes.txt"), "mine\n");
  await release(first);
  rmSync(join(pathOf(first), ".git"), { recursive: true });
  const second = await acquire();
  expect(second.source).not.toBe(WorkspaceSource.BOUND);
  expect(second.lostSalvageId).toBe(`s${first.lease?.leaseId.slice(1)}`);
  expect(readFileSync(join(pathOf(second), "notes.txt"), "utf8")).toBe("mine\n");
  await release(second);
  rmSync(pathOf(second), { recursive: true });
  const third = await acquire();
  expect(third.source).not.toBe(WorkspaceSource.BOUND);
  expect((await git(pathOf(third), "status", "--porcelain")).trim()).toBe("");
  await release(third, Disposition.CLEAN);
});

it("D1 G2 a salvage is never restored over what a binding has; a fresh workspace of the binding takes it", async () => {
  const first = await acquire();
  await writeFile(join(pathOf(first), "notes.txt"), "mine\n");
  const { salvage } = await release(first, Disposition.CLEAN);
  const restoreSalvageId = salvage?.salvageId ?? "";
  const second = await acquire();
  await writeFile(join(pathOf(second), "other.txt"), "theirs\n");
  await release(second);
  const refused = { reason: "FIELD_INVALID", fields: ["restore_salvage_id"] };
  expect(await refusal(acquire({ restoreSalvageId }))).toMatchObject(refused);
  const third = await acquire();
  expect([third.source, readFileSync(join(pathOf(third), "other.txt"), "utf8")]).toEqual([
    WorkspaceSource.BOUND,
    "theirs\n",
  ]);
  await release(third, Disposition.CLEAN);
  const fourth = await acquire({ restoreSalvageId });
  expect(readFileSync(join(pathOf(fourth), "notes.txt"), "utf8")).toBe("mine\n");
  await release(fourth, Disposition.CLEAN);
});

it("D4 Reset and Reclaim know bindings and parked workspaces", async () => {
  const first = await acquire();
  await release(first);
  const listed = await client.workspaces.listActive({
    repository: name,
    binding: "desk",
    states: [WorkspaceState.PARKED],
  });
  expect(listed.workspaces.map(({ workspaceId }) => workspaceId)).toEqual([idOf(first)]);
  const untouched = await client.workspaces.reclaim({ repository: name });
  expect(untouched.results).toEqual([]);
  await client.workspaces.reset({ repository: name, binding: "other" });
  expect((await client.workspaces.reset({ repository: name, binding: "desk" })).results).toHaveLength(1);
  await client.whenIn(idOf(first), WorkspaceState.IDLE);
  await release(await acquire({ binding: "bench" }));
  const reclaimed = await client.workspaces.reclaim({ repository: name, includeParked: true });
  expect(reclaimed.results.length).toBeGreaterThan(0);
  await until("nothing is left of it", async () => {
    const all = await client.workspaces.listActive({ repository: name, states: [1, 2, 3, 4, 7] });
    return all.workspaces.length === 0;
  });
});

it("D1 PARK without a binding is refused and ends nothing; twice is once, and its two events say so", async () => {
  const plain = await acquire({ binding: "" });
  expect(await refusal(release(plain))).toMatchObject({ code: Code.InvalidArgument, reason: "FIELD_INVALID" });
  await release(plain, Disposition.CLEAN);
  const bound = await acquire();
  await writeFile(join(pathOf(bound), "notes.txt"), "mine\n");
  const parked = await release(bound);
  expect(parked.workspace?.state).toBe(WorkspaceState.PARKED);
  expect(execFileSync("cat", [join(pathOf(bound), "notes.txt")]).toString()).toBe("mine\n");
  const again = await release(bound);
  expect(again.alreadyReleased).toBe(true);
  const events = await client.events(1n, { workspaceId: idOf(bound) });
  expect(events.filter(({ reason }) => reason === LeaseEndReason.PARKED).map(({ kind }) => kind)).toEqual([
    EventKind.LEASE_ENDED,
    EventKind.WORKSPACE_PARKED,
  ]);
});
