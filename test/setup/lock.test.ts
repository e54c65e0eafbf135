import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { until } from "../support/until.js";

const setup = (name: string) => JSON.stringify(pathToFileURL(`setup/${name}`).href);
let directory: string;
let processes: ChildProcess[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "leasehold-lock-"));
  processes = [];
});

afterEach(async () => {
  for (const child of processes) {
    child.kill("SIGKILL");
  }
  await rm(directory, { recursive: true, force: true });
});

interface Locker {
  readonly child: ChildProcess;
  readonly end: Promise<number | undefined>;
  /** Its standard error so far. */
  said(): string;
}

/** Runs `work` under the lock in a process of its own; resolves with its exit code, undefined when it was killed. */
function underLock(work: string): Locker {
  const program = `
    import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
    import { setTimeout as delay } from "node:timers/promises";
    import { withLock } from ${setup("lock.mjs")};
    import { runQuietly } from ${setup("command.mjs")};
    await withLock("lock", async () => { ${work} });`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    cwd: directory,
    stdio: ["ignore", "ignore", "pipe"],
  });
  processes.push(child);
  let text = "";
  child.stderr.setEncoding("utf8").on("data", (part: string) => {
    text += part;
  });
  return { child, end: new Promise((done) => child.once("exit", (code) => done(code ?? undefined))), said: () => text };
}

describe("the lock of a set-up", () => {
  it("lets one process at a time in, of eight", async () => {
    await writeFile(join(directory, "count"), "0");
    const work = `
      if (existsSync("inside")) process.exit(3);
      writeFileSync("inside", "");
      const count = Number(readFileSync("count", "utf8"));
      await delay(10);
      writeFileSync("count", String(count + 1));
      rmSync("inside");`;
    const codes = await Promise.all(Array.from({ length: 8 }, () => underLock(work).end));
    expect(codes).toEqual(Array(8).fill(0));
    expect(await readFile(join(directory, "count"), "utf8")).toBe("8");
  });

  it("is taken over from a process that was killed", async () => {
    const killed = underLock(`writeFileSync("first", ""); await delay(60_000);`);
    await until("the first has the lock", () => existsSync(join(directory, "first")));
    killed.child.kill("SIGKILL");
    await killed.end;
    expect(await underLock(`writeFileSync("second", "");`).end).toBe(0);
    expect(existsSync(join(directory, "lock"))).toBe(false);
  });

  it("stays held while the program that a killed process had started still runs", async () => {
    const program = `
      const { existsSync, writeFileSync } = require("node:fs");
      writeFileSync("running", "");
      setInterval(() => existsSync("go") && (writeFileSync("ended", ""), process.exit()), 10);`;
    const flags = JSON.stringify(["-e", program]);
    const killed = underLock(`await runQuietly(process.execPath, ${flags}, { what: "it" });`);
    await until("the program runs", () => existsSync(join(directory, "running")));
    killed.child.kill("SIGKILL");
    await killed.end;

    const next = underLock(`process.exit(existsSync("ended") ? 0 : 3);`);
    await until("the next one says that it waits", () => next.said().includes("waiting for another set-up"));
    await writeFile(join(directory, "go"), "");
    expect(await next.end).toBe(0);
  });

  it("ends the program with itself when it is told to end", async () => {
    const program = `require("node:fs").writeFileSync("pid", String(process.pid)); setInterval(() => {}, 1000);`;
    const flags = JSON.stringify(["-e", program]);
    const told = underLock(`await runQuietly(process.execPath, ${flags}, { what: "it" });`);
    const pid = async () => Number(await readFile(join(directory, "pid"), "utf8").catch(() => ""));
    await until("the program runs", async () => (await pid()) > 0);
    told.child.kill("SIGTERM");
    expect(await told.end).toBe(143);
    const started = await pid();
    await until("the program has ended", () => !isAlive(started));
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
