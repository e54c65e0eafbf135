import { fork } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Failure } from "../../src/domain/failure.js";
import { type CallError, WorkerPool } from "../../src/git/worker-pool.js";
import { git, UpstreamRepository } from "../support/repositories.js";
import { Bench, Site, state, workerEntry } from "./support.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 30_000 });

const sockets = new Set<Socket>();
let silent: Server;
let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;

beforeAll(async () => {
  silent = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit(
    "one",
    Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`d${index % 9}/f${index}`, "x"])),
  );
  upstream.git("tag", "v1");
  upstream.commit("two", { "d0/f0": "y", new: "z" });
  mirror = await bench.mirror(upstream.path);
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => silent.close(resolve));
  await bench.close();
});

const hangingUrl = (): string => `http://127.0.0.1:${(silent.address() as AddressInfo).port}/x`;
const failed = (work: Promise<unknown>): Promise<Failure> =>
  work.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: Failure) => error,
  );

function isAlive(pid: number): boolean {
  try {
    // A zombie that its parent has not read yet is dead.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

describe("G12 a pool of workers", () => {
  const make = (size: number, more = {}): WorkerPool =>
    new WorkerPool({ entry: workerEntry, size, keep: 0, log: () => {}, ...more });
  const resolveJob = (pool: WorkerPool, revision = "main") =>
    pool.call("resolve", { mirror, revision }, { deadlineMs: 20_000 });
  const hang = (pool: WorkerPool, deadlineMs = 20_000) =>
    pool.call("fetchMirror", { path: mirror, url: hangingUrl(), extraRefs: [] }, { deadlineMs });

  test("G12 the death of a worker fails its own call and nothing else", async () => {
    const pool = make(2);
    const before = sockets.size;
    const doomed = hang(pool).catch((error: CallError) => error);
    await vi.waitFor(() => expect(sockets.size).toBeGreaterThan(before), { timeout: 20_000 });
    const [victim] = pool.pids;
    const others = Array.from({ length: 8 }, () => resolveJob(pool));
    process.kill(victim as number, "SIGKILL");
    expect(await doomed).toMatchObject({ kind: "died" });
    for (const answer of await Promise.all(others)) expect(answer).toMatchObject({ head: "refs/heads/main" });
    await pool.close();
  });

  test("G12 workers that die while idle are replaced unnoticed", async () => {
    const pool = make(1);
    for (let round = 0; round < 3; round++) {
      await resolveJob(pool);
      for (const pid of pool.pids) process.kill(pid, "SIGKILL");
    }
    expect(await resolveJob(pool)).toMatchObject({ head: "refs/heads/main" });
    await pool.close();
  });

  test("G12 a deadline kills the worker, and the next call gets a fresh one", async () => {
    const pool = make(1);
    const late = hang(pool, 1500).catch((error: CallError) => error);
    const queued = resolveJob(pool);
    const tooLate = pool.call("resolve", { mirror, revision: "main" }, { deadlineMs: 100 });
    await expect(tooLate).rejects.toMatchObject({ kind: "timeout" });
    expect(await late).toMatchObject({ kind: "timeout" });
    expect(await queued).toMatchObject({ head: "refs/heads/main" });
    await pool.close();
  });

  test("G12 an entry that cannot start is told, not retried for ever", async () => {
    const pool = make(1, { entry: bench.at("no-such-entry.js") });
    await expect(resolveJob(pool)).rejects.toMatchObject({ kind: "died" });
    await pool.close();
  });

  test("G12 a worker that cannot be started is this host's fault, and the next call tries again", async () => {
    const pool = make(1);
    const saved = process.env.TMPDIR;
    process.env.TMPDIR = bench.at("no-such-directory");
    await expect(resolveJob(pool)).rejects.toMatchObject({ kind: "failed", fault: { kind: "host-io" } });
    if (saved === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = saved;
    expect(await resolveJob(pool)).toMatchObject({ head: "refs/heads/main" });
    await pool.close();
  });

  test("G12 a worker is replaced after its number of calls, and idle ones end", async () => {
    const pool = make(2, { maxCalls: 3, idleMs: 50 });
    const seen = new Set<number>();
    for (let call = 0; call < 7; call++) {
      await resolveJob(pool);
      for (const pid of pool.pids) seen.add(pid);
    }
    expect(seen.size).toBe(3);
    await vi.waitFor(() => expect(pool.pids).toEqual([]), { timeout: 5000 });
    await pool.close();
  });

  test("G12 closing ends all workers, whatever they do, and leaves none of their directories", async () => {
    const pool = make(3);
    const calls = [hang(pool), hang(pool), hang(pool), hang(pool)].map((call) =>
      call.catch((error: CallError) => error),
    );
    await vi.waitFor(() => expect(pool.pids.length).toBe(3), { timeout: 10_000 });
    const pids = [...pool.pids];
    await pool.close();
    for (const error of await Promise.all(calls)) expect(error).toMatchObject({ kind: "closed" });
    expect(pids.filter(isAlive)).toEqual([]);
    await expect(resolveJob(pool)).rejects.toMatchObject({ kind: "closed" });
  });
});

test("G12 no worker survives kill -9 of the server, also one that hangs", async () => {
  const script = bench.at("server.mjs");
  const pool = join(workerEntry, "../../worker-pool.js");
  const job = JSON.stringify({ path: mirror, url: hangingUrl(), extraRefs: [] });
  writeFileSync(
    script,
    `import { WorkerPool } from ${JSON.stringify(pool)};
    const pool = new WorkerPool({ entry: ${JSON.stringify(workerEntry)}, size: 2, keep: 2, log: () => {} });
    await pool.call("resolve", { mirror: ${JSON.stringify(mirror)}, revision: "main" }, { deadlineMs: 60000 });
    for (let i = 0; i < 2; i++) pool.call("fetchMirror", ${job}, { deadlineMs: 60000 }).catch(() => {});
    setInterval(() => process.send(pool.pids), 50);`,
  );
  const before = sockets.size;
  const server = fork(script, [], { execArgv: [] });
  let pids: number[] = [];
  server.on("message", (message) => {
    pids = message as number[];
  });
  await vi.waitFor(() => expect(sockets.size).toBeGreaterThanOrEqual(before + 2), { timeout: 20_000 });
  await vi.waitFor(() => expect(pids.length).toBe(2), { timeout: 20_000 });
  server.kill("SIGKILL");
  await vi.waitFor(() => expect(pids.filter(isAlive)).toEqual([]), { timeout: 10_000 });
});

test("G12 a worker obeys no git configuration and sees no variable of the server's user", async () => {
  const home = bench.at("home");
  git(bench.directory.path, "config", "--file", `${bench.at("hostile")}`, "core.autocrlf", "true");
  const config = readFileSync(bench.at("hostile"), "utf8");
  const saved = { ...process.env };
  mkdirSync(join(home, ".config/git"), { recursive: true });
  writeFileSync(join(home, ".gitconfig"), config);
  writeFileSync(join(home, ".config/git/attributes"), "* eol=crlf\n");
  const hostile = new Bench();
  try {
    Object.assign(process.env, {
      HOME: home,
      XDG_CONFIG_HOME: join(home, ".config"),
      GIT_DIR: "/x",
      SSH_AUTH_SOCK: "/x",
    });
    const site = new Site(hostile, await hostile.mirror(upstream.path), upstream.path, "hermetic");
    const target = await site.prepare();
    expect(state(site.path)).toEqual(state(site.reference(target)));
    const children = readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .filter(isWorkerOfOurs);
    expect(children.length).toBeGreaterThan(0);
    for (const pid of children) {
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
      expect(environment).not.toContain("GIT_DIR=/x");
      expect(environment).not.toContain("SSH_AUTH_SOCK=/x");
      expect(environment.some((line) => line.startsWith(`HOME=${tmpdir()}/leasehold-worker-`))).toBe(true);
    }
  } finally {
    process.env = saved;
    await hostile.close();
  }
});

function isWorkerOfOurs(pid: string): boolean {
  try {
    const parent = /^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return parent === String(process.pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(workerEntry);
  } catch {
    return false;
  }
}

test("A3 twenty workspaces at once are made, moved, dirtied, cleaned and moved again", async () => {
  const sites = Array.from({ length: 20 }, (_, index) => new Site(bench, mirror, upstream.path, `many${index}`));
  const one = async (site: Site, index: number): Promise<void> => {
    const first = await site.prepare(index % 2 ? "v1" : "");
    const second = await site.prepare(index % 3 ? "" : "v1", { from: first.commit });
    writeFileSync(join(site.path, "junk"), "x");
    rmSync(join(site.path, "d1"), { recursive: true });
    const target = await site.target("main");
    expect(await site.clean(second.commit, target)).toEqual({ kind: "clean", recreated: false });
    expect(git(site.path, "status", "--porcelain", "--ignored")).toBe("");
  };
  await Promise.all([...sites.map(one), ...sites.map(() => bench.fetch(mirror, upstream.path))]);
  const [last] = sites;
  expect(state((last as Site).path)).toEqual(state((last as Site).reference(await (last as Site).target("main"))));
});

/** Runs `work` in a fresh worker and kills that after `ms`, wherever it then is. Answers whether it was still at work. */
async function killed(ms: number, work: (pool: WorkerPool) => Promise<unknown>): Promise<boolean> {
  const pool = new WorkerPool({ entry: workerEntry, size: 1, keep: 1, log: () => {} });
  await pool.call("resolve", { mirror, revision: "main" }, { deadlineMs: 20_000 });
  const call = work(pool).then(
    () => false,
    (error: CallError) => error.kind === "died",
  );
  await new Promise((resolve) => setTimeout(resolve, ms));
  for (const pid of pool.pids) process.kill(pid, "SIGKILL");
  const died = await call;
  await pool.close();
  return died;
}

test("G12 a clean that was killed at any moment is finished by the next, also for another target", async () => {
  const site = new Site(bench, mirror, upstream.path, "killed");
  const targets = [await site.target("v1"), await site.target("main")] as const;
  await site.prepare("v1");
  let hits = 0;
  for (let round = 0; round < 4; round++) {
    const { mirror, origin, trustedIndex } = site;
    const path = bench.at("workspaces", `killed-${round}`);
    const request = { mirror, origin, trustedIndex, path, candidates: [path, site.path], trash: bench.trash };
    const job = { ...request, from: targets[0].commit };
    writeFileSync(join(site.path, "junk"), "x");
    // At the last round it is not killed before its end: what it answered is lost all the same.
    const died = await killed(round * round * 12, (pool) =>
      pool.call("cleanWorkspace", { ...job, target: targets[1] }, { deadlineMs: 20_000 }),
    );
    if (died) hits++;
    await bench.engine.cleanWorkspace({ ...job, target: targets[0] });
    site.path = path;
    expect(state(site.path)).toEqual(state(site.reference(targets[0])));
  }
  expect(hits, "kills that met it at work").toBeGreaterThan(0);
});

test("G12 a move that was killed at any moment is finished by the next, also to another target", async () => {
  const site = new Site(bench, mirror, upstream.path, "moved");
  const targets = [await site.target("v1"), await site.target("main")] as const;
  await site.prepare("v1");
  const { path, origin, trustedIndex } = site;
  const job = { mirror, path, origin, trustedIndex, from: targets[0].commit };
  let hits = 0;
  for (let round = 0; round < 4; round++) {
    const died = await killed(round * round * 12, (pool) =>
      pool.call("prepareWorkspace", { ...job, target: targets[1] }, { deadlineMs: 20_000 }),
    );
    if (died) hits++;
    await bench.engine.prepareWorkspace({ ...job, target: targets[0] });
    expect(state(path)).toEqual(state(site.reference(targets[0])));
  }
  expect(hits, "kills that met it at work").toBeGreaterThan(0);
});

test("G12 a call after the engine was closed is told that the server stops", async () => {
  const other = new Bench();
  await other.close();
  expect(await failed(other.engine.resolve(mirror, ""))).toMatchObject({ reason: "DRAINING" });
});
