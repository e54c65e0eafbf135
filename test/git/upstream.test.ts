import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Failure } from "../../src/domain/failure.js";
import type { UpstreamCredential } from "../../src/ports/git-engine.js";
import { GitHttpServer } from "../support/git-http-server.js";
import { git, UpstreamRepository } from "../support/repositories.js";
import { canMount, SmallDisk } from "../support/small-disk.js";
import { Bench } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

const login = { username: "ada", password: "geheim/:@%" };
const sockets = new Set<Socket>();
let bench: Bench;
let upstream: UpstreamRepository;
let open: GitHttpServer;
let closed: GitHttpServer;
let silent: Server;
let made = 0;

beforeAll(async () => {
  bench = new Bench({ lanes: { upstream: 3 } });
  upstream = new UpstreamRepository(bench.at("served", "demo.git"), "main");
  upstream.commit("one");
  upstream.git("tag", "-a", "-m", "x", "v1");
  open = await GitHttpServer.start({ root: bench.at("served") });
  closed = await GitHttpServer.start({ root: bench.at("served"), login });
  silent = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => silent.close(resolve));
  await Promise.all([open.stop(), closed.stop()]);
  await bench.close();
});

function clone(url: string, credential?: UpstreamCredential, more: { deadlineMs?: number; signal?: AbortSignal } = {}) {
  const path = bench.at(`m${++made}.git`);
  const request = { path, staging: bench.at("staging"), url, deadlineMs: 20_000, ...more };
  return bench.engine.cloneMirror({ ...request, ...(credential && { credential }) }).then(() => path);
}

/** The failure, which must be fit to be shown: without paths, URLs and secrets. */
async function failure(work: Promise<unknown>): Promise<Failure> {
  const error = await work.then(
    () => Promise.reject(new Error("it did not fail")),
    (thrown: Failure) => thrown,
  );
  const shown = JSON.stringify([error.message, error.metadata]);
  for (const secret of [bench.directory.path, login.password, "127.0.0.1"]) expect(shown).not.toContain(secret);
  return error;
}

describe("A1 upstreams:", () => {
  test("A1 a path, a file URL and http, with fetches", async () => {
    const local = upstream.path;
    for (const url of [local, `file://${local}`, open.url("demo.git")]) {
      const mirror = await clone(url);
      const commit = upstream.commit(`c${made}`);
      await bench.fetch(mirror, url);
      expect(await bench.engine.resolve(mirror, "main")).toEqual({ commit, head: "refs/heads/main" });
      expect(git(mirror, "fsck")).toBe("");
    }
  });

  test("A1 http with a password, which is written nowhere", async () => {
    const mirror = await clone(closed.url("demo.git"), login);
    await bench.engine.fetchMirror({ ...fetchOf(mirror, closed.url("demo.git")), credential: login });
    expect(await bench.engine.resolve(mirror, "v1")).toMatchObject({ commit: upstream.id("v1^{commit}") });
    expect(readFileSync(join(mirror, "config"), "utf8")).not.toMatch(/geheim|ada/);
  });
});

test("A1 a redirect is followed on the same host only: no other host sees a password, or a request", async () => {
  const base = (server: GitHttpServer): string => server.url("").slice(0, -1);
  const same = await GitHttpServer.start({ root: bench.at("served"), redirect: base(open) });
  await clone(same.url("demo.git"));
  const seen = closed.requests.length;
  const other = await GitHttpServer.start({
    root: bench.at("served"),
    redirect: base(closed).replace("127.0.0.1", "localhost"),
  });
  for (const credential of [undefined, login]) {
    expect(await failure(clone(other.url("demo.git"), credential))).toMatchObject({ reason: "UPSTREAM_UNAVAILABLE" });
  }
  expect(closed.requests.length).toBe(seen);
  await Promise.all([same.stop(), other.stop()]);
});

const fetchOf = (path: string, url: string) => ({ path, url, extraRefs: [], deadlineMs: 20_000 });

describe("B3 the upstream's fault is told apart:", () => {
  test("B3 a credential that is wanted, or wrong: UPSTREAM_DENIED, without hammering", async () => {
    const url = closed.url("demo.git");
    expect(await failure(clone(url))).toMatchObject({ reason: "UPSTREAM_DENIED" });
    const before = closed.requests.length;
    expect(await failure(clone(url, { ...login, password: "wrong" }))).toMatchObject({ reason: "UPSTREAM_DENIED" });
    expect(closed.requests.length - before).toBeLessThanOrEqual(3);
    const mirror = await clone(url, login);
    expect(await failure(bench.engine.fetchMirror(fetchOf(mirror, url)))).toMatchObject({ reason: "UPSTREAM_DENIED" });
  });

  test("B3 an upstream that is away, unknown, or no repository: UPSTREAM_UNAVAILABLE", async () => {
    const gone = await GitHttpServer.start({ root: bench.at("served") });
    const dead = gone.url("demo.git");
    await gone.stop();
    mkdirSync(bench.at("plain"));
    const urls = [dead, "http://no-such-host.invalid/x", open.url("none.git"), bench.at("none"), bench.at("plain")];
    for (const url of [...urls, `file://${bench.at("none")}`]) {
      expect(await failure(clone(url)), url).toMatchObject({ reason: "UPSTREAM_UNAVAILABLE", code: "UNAVAILABLE" });
    }
    const mirror = await clone(upstream.path);
    expect(await failure(bench.fetch(mirror, bench.at("none")))).toMatchObject({ reason: "UPSTREAM_UNAVAILABLE" });
    expect(await bench.engine.inspectMirror(mirror)).toBeDefined();
  });

  test.each([
    [500, "UPSTREAM_UNAVAILABLE"],
    [502, "UPSTREAM_UNAVAILABLE"],
    [403, "UPSTREAM_DENIED"],
  ])("B3 status %d: %s", async (status, reason) => {
    const server = await GitHttpServer.start({ root: bench.at("served"), status });
    expect(await failure(clone(server.url("demo.git")))).toMatchObject({ reason });
    await server.stop();
  });

  test("B3 nothing is left in staging after a failure", () => {
    expect(readdirSync(bench.at("staging"))).toEqual([]);
  });
});

describe("G12 an upstream that accepts and stays silent", () => {
  const url = (): string => `http://127.0.0.1:${(silent.address() as AddressInfo).port}/demo.git`;

  test("G12 fails by the deadline, and leaves nothing behind", async () => {
    expect(await failure(clone(url(), undefined, { deadlineMs: 1500 }))).toMatchObject({
      reason: "UPSTREAM_UNAVAILABLE",
    });
    expect(readdirSync(bench.at("staging"))).toEqual([]);
  });

  test("G12 holds up no local work, and no other upstream while its lane has room", async () => {
    const mirror = await clone(upstream.path);
    const controller = new AbortController();
    let ended = 0;
    const before = sockets.size;
    const hanging = [1, 2].map(() => failure(clone(url(), undefined, { signal: controller.signal })));
    for (const call of hanging) void call.finally(() => ended++);
    await vi.waitFor(() => expect(sockets.size).toBeGreaterThanOrEqual(before + 2), { timeout: 10_000 });
    await bench.engine.resolve(mirror, "main");
    await clone(upstream.path);
    expect(ended).toBe(0);
    controller.abort();
    for (const error of await Promise.all(hanging)) expect(error).toMatchObject({ reason: "CANCELLED" });
  });

  test("G12 a call that waits for another fetch of the same mirror ends by its own deadline", async () => {
    const mirror = await clone(upstream.path);
    const controller = new AbortController();
    const long = bench.engine.fetchMirror({ ...fetchOf(mirror, url()), signal: controller.signal });
    const short = bench.engine.fetchMirror({ ...fetchOf(mirror, upstream.path), deadlineMs: 300 });
    expect(await failure(short)).toMatchObject({ reason: "UPSTREAM_UNAVAILABLE" });
    controller.abort();
    expect(await failure(long)).toMatchObject({ reason: "CANCELLED" });
    await bench.fetch(mirror, upstream.path);
  });

  test("G12 is given up when the caller goes, also while it waits in the queue", async () => {
    const controller = new AbortController();
    const more = { signal: controller.signal };
    const calls = Array.from({ length: 6 }, () => failure(clone(url(), undefined, more)));
    const before = sockets.size;
    await vi.waitFor(() => expect(sockets.size).toBeGreaterThan(before), { timeout: 10_000 });
    controller.abort();
    for (const error of await Promise.all(calls)) expect(error).toMatchObject({ reason: "CANCELLED" });
    expect(await failure(clone(url(), undefined, more))).toMatchObject({ reason: "CANCELLED" });
  });
});

test.skipIf(!canMount())(
  "B3 a full disk is told as DISK_LOW and one that cannot be written as HOST_IO, and the same call works when there is room",
  async () => {
    const disk = new SmallDisk(bench.at("small"), "4m");
    try {
      const big = new UpstreamRepository(bench.at("big"));
      big.commit("big", { big: new Uint8Array(6_000_000).map(() => Math.random() * 256) });
      const request = {
        path: join(disk.path, "m.git"),
        staging: join(disk.path, "staging"),
        url: big.path,
        deadlineMs: 20_000,
      };
      expect(await failure(bench.engine.cloneMirror(request))).toMatchObject({ reason: "DISK_LOW" });

      const mirror = await bench.mirror(big.path, "big");
      const target = { ...(await bench.engine.resolve(mirror, "")), tracking: true };
      const [path, trustedIndex] = [join(disk.path, "w"), join(disk.path, "i")];
      const workspace = { mirror, path, trustedIndex, origin: big.path, target };
      expect(await failure(bench.engine.prepareWorkspace(workspace))).toMatchObject({ reason: "DISK_LOW" });
      disk.remount("size=64m");
      await bench.engine.prepareWorkspace(workspace);
      expect(git(path, "status", "--porcelain")).toBe("");
      disk.remount("ro");
      const moved = { ...workspace, from: target.commit };
      expect(await failure(bench.engine.prepareWorkspace(moved))).toMatchObject({ reason: "HOST_IO" });
    } finally {
      disk.detach();
    }
  },
);

test("B3 a mirror that is gone is no fault of the caller", async () => {
  expect(await failure(bench.engine.resolve(bench.at("no.git"), "main"))).toMatchObject({ code: "INTERNAL" });
  writeFileSync(bench.at("file"), "");
  chmodSync(bench.at("file"), 0o400);
  expect(await bench.engine.inspectMirror(bench.at("file"))).toBeUndefined();
});

test("G12 a mirror is not made anew in the midst of a fetch, which would write what it knows of the old one", async () => {
  const path = await bench.mirror(upstream.path, "turns");
  const ended: string[] = [];
  const before = sockets.size;
  const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/x`;
  const fetching = bench.engine
    .fetchMirror({ path, url, extraRefs: [], deadlineMs: 5_000 })
    .catch(() => ended.push("fetch"));
  await vi.waitFor(() => expect(sockets.size).toBeGreaterThan(before), { timeout: 20_000 });
  await bench.mirror(upstream.path, "turns").then(() => ended.push("clone"));
  await fetching;
  expect(ended).toEqual(["fetch", "clone"]);
});
