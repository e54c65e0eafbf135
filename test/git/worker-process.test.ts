/** Worker processes at the limits: a server that is killed while they work, a system that has no room for them. */
import { execFileSync, fork } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { WorkerPool } from "../../src/git/worker-pool.js";
import { cleanEnvironment } from "../support/environment.js";
import { TemporaryDirectory } from "../support/repositories.js";
import { workerEntry } from "./support.js";

vi.setConfig({ testTimeout: 60_000 });

const directory = new TemporaryDirectory();
afterAll(() => directory.remove());

const poolModule = join(workerEntry, "../../worker-pool.js");

/** `name` as text where the process has ended, or its files cannot be read any more. */
function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return "";
  }
}

test("G12 a worker dies with a server that is killed while the worker's own thread hears nothing", async () => {
  // its record is a pipe that nobody writes to: whoever opens it waits in the kernel
  const mirror = directory.at("mirror.git");
  mkdirSync(mirror);
  execFileSync("mkfifo", [join(mirror, "leasehold-objects.json")]);
  const script = directory.at("server.mjs");
  writeFileSync(
    script,
    `import { WorkerPool } from ${JSON.stringify(poolModule)};
    const pool = new WorkerPool({ entry: ${JSON.stringify(workerEntry)}, size: 1, keep: 1, log: () => {} });
    pool.call("checkMirror", ${JSON.stringify(mirror)}, { deadlineMs: 60000 }).catch(() => {});
    setInterval(() => process.send(pool.pids), 50);`,
  );
  const homes = directory.at("homes");
  mkdirSync(homes);
  const server = fork(script, [], { execArgv: [], env: cleanEnvironment({ TMPDIR: homes }) });
  let worker = 0;
  server.on("message", ([pid]: number[]) => {
    worker = pid ?? 0;
  });
  const waitsFor = () => readFileSync(`/proc/${worker}/wchan`, "utf8");
  await vi.waitFor(() => expect(waitsFor()).toMatch(/wait_for_partner|fifo/), { timeout: 20_000 });
  server.kill("SIGKILL");
  await vi.waitFor(() => expect(statusOf(worker)).not.toMatch(/^State:\s+[^Z]/m), { timeout: 10_000 });
  expect(readdirSync(homes)).toEqual([]);
});

test("G12 where no file is left to start a worker, the call fails as this host's fault and runs for nobody later", () => {
  const script = directory.at("short.mjs");
  const done = directory.at("done");
  mkdirSync(done);
  writeFileSync(join(done, "file"), "");
  writeFileSync(
    script,
    `import { closeSync, openSync } from "node:fs";
    import { WorkerPool } from ${JSON.stringify(poolModule)};
    const pool = new WorkerPool({ entry: ${JSON.stringify(workerEntry)}, size: 1, keep: 1, log: () => {} });
    const clean = () => pool.call("emptyTrash", ${JSON.stringify(done)}, { deadlineMs: 30000 });
    const files = [];
    try { for (;;) files.push(openSync("/dev/null", "r")); } catch {}
    const error = await clean().catch((error) => error);
    files.forEach((file) => closeSync(file));
    const later = await pool.call("measure", { path: ${JSON.stringify(done)}, shared: [], holders: false }, { deadlineMs: 30000 }).then(() => "", String);
    console.log(JSON.stringify([error.kind, error.fault?.kind, later]));
    await pool.close();`,
  );
  const limited = `ulimit -n 100; exec "$0" "$1"`;
  const output = execFileSync("/bin/sh", ["-c", limited, process.execPath, script], { encoding: "utf8" });
  expect(JSON.parse(output)).toEqual(["failed", "host-io", ""]);
  expect(readdirSync(done)).toEqual(["file"]);
});

test("G12 a call that cannot be sent fails by itself, and the worker takes the next one", async () => {
  const pool = new WorkerPool({ entry: workerEntry, size: 1, keep: 1, log: () => {} });
  try {
    const unsendable = { path: () => "a function" } as never;
    await expect(pool.call("checkMirror", unsendable, { deadlineMs: 20_000 })).rejects.toMatchObject({
      kind: "failed",
    });
    await pool.call("emptyTrash", directory.at("nothing"), { deadlineMs: 20_000 });
    expect(pool.pids.length).toBe(1);
  } finally {
    await pool.close();
  }
});
