import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { endStarted, leasehold, start, temporaryDirectory } from "../support/command-line.js";
import { killPostgres } from "../support/server.js";

// One database for all: making it takes longer than everything else here.
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeAll(async () => {
  directory = await temporaryDirectory();
});
afterAll(async () => {
  await endStarted();
  killPostgres(join(directory.path, "data"));
  await directory[Symbol.asyncDispose]();
});

const flags = (listen = "127.0.0.1:0", data = join(directory.path, "data")) => [
  ...["serve", "--listen", listen, "--data-dir", data, "--disk-low", "0", "--disk-min-free", "0"],
];

test("a database of whoever runs the tests is none of theirs", async () => {
  process.env.DATABASE_URL = "postgres://127.0.0.1:1/somebody";
  try {
    const serving = start("", flags());
    await serving.printed("listening");
    serving.child.kill("SIGTERM");
    expect((await serving.finished).stderr).not.toContain("somebody");
  } finally {
    delete process.env.DATABASE_URL;
  }
}, 90_000);

test("serve says where it listens, once, on standard output; SIGTERM and SIGINT drain it and end it with 0", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const serving = start("", flags());
    await serving.printed("listening");
    serving.child.kill(signal);
    const { status, stdout } = await serving.finished;
    expect(status).toBe(0);
    expect(stdout).toMatch(/^leasehold listening on http:\/\/127\.0\.0\.1:\d+\n$/);
  }
}, 90_000);

test("A8 B4 run against a server on a unix socket: acquires, exports the lease, runs, releases, and leaves nothing leased", async () => {
  const listen = `unix:${join(directory.path, "socket")}`;
  const upstream = join(directory.path, "demo");
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", upstream, "-c", "user.name=n", "-c", "user.email=e", ...args], { stdio: "ignore" });
  execFileSync("git", ["init", "-q", "-b", "main", upstream]);
  git("commit", "--allow-empty", "-m", "first");
  const serving = start("", flags(listen));
  await serving.printed("listening");
  const run = await leasehold(listen, ["run", "-r", upstream, "--", "sh", "-c", "git log --format=%s; exit 3"]);
  expect(run).toMatchObject({ status: 3, stdout: "first\n", stderr: "" });
  const tell =
    'echo "$LEASEHOLD_LEASE_ID $LEASEHOLD_FENCE $LEASEHOLD_COMMIT $LEASEHOLD_FINGERPRINT"; echo "$LEASEHOLD_WORKSPACE_DIR"; echo "$MINE"; pwd';
  const flagsOfRun = ["-r", "demo", "--wait", "20s", "--dependency-manifest", "auto", "--workspace-env", "MINE"];
  const exported = await leasehold(listen, ["run", ...flagsOfRun, "--", "sh", "-c", tell]);
  const [words = "", ...places] = exported.stdout.trim().split("\n");
  expect(words).toMatch(/^w\d+\.(\d+) \1 [0-9a-f]{40} \S+$/);
  expect(new Set(places).size, exported.stdout + exported.stderr).toBe(1);
  expect(places[2]).toContain(join(directory.path, "data", "workspaces", "demo"));
  const list = await leasehold(listen, ["show-active", "--repository", "demo", "-o", "json"]);
  expect(JSON.parse(list.stdout).workspaces).toEqual([]);
  const reclaim = await leasehold(listen, ["reclaim", "--repository", "demo", "--older-than", "2h"]);
  expect(reclaim).toMatchObject({ status: 0, stdout: "" });
  serving.child.kill("SIGTERM");
  expect((await serving.finished).status).toBe(0);
});

test("a start that fails says why in one clear message, and has an exit code of its own", async () => {
  const file = join(directory.path, "file");
  await writeFile(file, "");
  const notDirectory = await leasehold("", flags("127.0.0.1:0", file));
  expect(notDirectory.status).toBe(1);
  expect(notDirectory.stderr).toMatch(/^leasehold: .*file is not a directory\n$/m);

  await using taken = await occupyPort();
  const inUse = await leasehold("", flags(`127.0.0.1:${taken.port}`));
  expect(inUse.status).toBe(1);
  expect(inUse.stderr.trim().split("\n").at(-1)).toMatch(
    new RegExp(`^leasehold: .*127\\.0\\.0\\.1:${taken.port}.*in use`),
  );

  const wrong = await leasehold("", ["serve", "--listen", "nonsense", "--drain-limit", "5"]);
  expect(wrong).toMatchObject({ status: 2, stdout: "" });
  expect(wrong.stderr).toContain("--listen");
  expect(wrong.stderr).toContain("--drain-limit");
  expect(await leasehold("", ["serve", "--no-such-flag"])).toMatchObject({ status: 2, stdout: "" });
});

async function occupyPort(): Promise<{ readonly port: number } & AsyncDisposable> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return { port, [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) };
}
