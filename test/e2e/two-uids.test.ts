/** The two-uid layout over the wire: the server runs as root, the jobs as another user. As root only. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { Disposition } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { state } from "../git/support.js";
import { leasehold } from "../support/command-line.js";
import { isRunning, useProcesses, whenGrown } from "../support/processes.js";
import type { Held } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { expectSalvaged, salvageOf, salvagesOf } from "../support/unsaved.js";
import { git, gitEnvironment, Upstream } from "../support/upstream.js";

const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stdout.write("test/e2e/two-uids.test.ts: skipped, it needs root to have a second user\n");
/** Needs no entry in the list of users. */
const holder = { uid: 61_234, gid: 61_234 };
const servers = useServers();
const processes = useProcesses();
let root: string;
let server: ServerProcess;
let upstream: Upstream;
let databaseUrl: string;
let repositories = 0;
let name: string;

function asHolder(script: string, ...args: string[]): string {
  return execFileSync("/bin/sh", ["-c", script, "sh", ...args], {
    ...holder,
    cwd: "/",
    env: gitEnvironment,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

async function fresh(branch = "main"): Promise<ReturnType<typeof state>> {
  const clone = join(root, `${name}.clone`);
  await rm(clone, { recursive: true, force: true });
  await git(root, "clone", "--quiet", "--branch", branch, upstream.url, clone);
  return state(clone);
}

async function acquire(fields: object = {}): Promise<Held> {
  return server.client.acquire({ repository: name, ...fields });
}

beforeAll(async () => {
  if (!isRoot) return;
  root = realpathSync(await mkdtemp(join(tmpdir(), "leasehold-two-")));
  chmodSync(root, 0o755);
  databaseUrl = await servers.database();
  server = await servers.start({ dataDir: join(root, "data"), databaseUrl, flags: ["--holder-user", "61234"] });
});
afterAll(async () => {
  if (root) await rm(root, { recursive: true, force: true, maxRetries: 20 });
});

async function register(settings: object = {}): Promise<void> {
  name = `repository-${++repositories}`;
  upstream = await Upstream.make(root, name);
  await server.client.admin.registerRepository({
    repository: { name, url: upstream.url, maxWorkspaces: 1, minIdle: 0, ...settings },
  });
}

/** What `workUnsaved` does, as the holders' user. */
const unsaved = `cd "$1" && echo 'committed mark' > committed.txt && git add committed.txt &&
  git commit --quiet --message 'Not pushed: mark' && echo 'changed mark' > src/main.txt && echo 'staged mark' > staged.txt &&
  git add staged.txt && mkdir -p deep/er && printf '\\000\\001\\002\\377\\376\\n' > deep/er/binary &&
  echo 'untracked mark' > notes.txt && echo ignored > build.log`;

/** Everything that must not be the holders' to read or to change. */
const closed = ["mirrors", "salvages", "indexes", "trash", "workspaces", "postgres", "id"];

describe.skipIf(!isRoot)("a lease in the two-uid layout", () => {
  it("is worked in by the other user, salvaged, cleaned, handed out as a fresh clone, and restored", async () => {
    await register();
    const held = await acquire();
    expect(state(held.path)).toEqual(await fresh());
    expect(asHolder('cd "$1" && git status --porcelain --ignored && id -u', held.path)).toBe("61234\n");
    asHolder(unsaved, held.path);
    const hostile =
      "echo evil > .git/hooks/post-checkout; git config core.fsmonitor /bin/false; chmod 000 deep/er deep";
    asHolder(`cd "$1"; ${hostile}`, held.path);
    await server.client.releaseAndClean(held);
    const salvage = await salvageOf(server.client, held);
    await expectSalvaged(salvage, root);

    const next = await acquire();
    expect(next.path).not.toBe(held.path);
    expect(state(next.path)).toEqual(await fresh());
    expect(asHolder('find "$1" ! -user 61234 ! -path "*/.git/objects/*"', next.path)).toBe("");
    await server.client.releaseAndClean(next);
    expect(await salvagesOf(server.client, { leaseId: next.leaseId })).toEqual([]);

    const restored = await acquire({ restoreSalvageId: salvage.salvageId });
    const told = asHolder(
      'cd "$1" && git log --format=%s -1 && git status --porcelain && cat notes.txt && touch notes.txt deep/er/x',
      restored.path,
    );
    expect(told).toBe("Not pushed: mark\n M src/main.txt\nA  staged.txt\n?? deep/\n?? notes.txt\nuntracked mark\n");
    await server.client.releaseAndClean(restored);
  }, 120_000);

  it("shows its holder nothing else of the server", async () => {
    await register();
    const held = await acquire();
    for (const place of closed.filter((one) => one !== "postgres" && one !== "id")) {
      expect(() => asHolder('ls "$1"', join(server.dataDir, place)), place).toThrow(/denied/);
      expect(() => asHolder('touch "$1/x"', join(server.dataDir, place)), place).toThrow(/denied/);
    }
    for (const place of [server.dataDir, join(held.path, "..")]) {
      expect(() => asHolder('ls "$1"', place), place).toThrow(/denied/);
      expect(() => asHolder('touch "$1/x"', place), place).toThrow(/denied/);
    }
    expect(() => asHolder('mv "$1" "$1.x"', held.path)).toThrow(/denied/);
    expect(() => asHolder('cat "$1"', join(server.dataDir, "mirrors", `${name}.git`, "HEAD"))).toThrow(/denied/);
    await server.client.releaseAndClean(held);
  });

  it("G1 is followed by a fresh clone while a process of the user goes on, which is named", async () => {
    await register();
    const held = await acquire();
    const progress = join(root, `${name}.progress`);
    writeFileSync(progress, "");
    chownSync(progress, holder.uid, holder.gid);
    const script =
      'cd "$1/src"; exec 3>>main.txt; while :; do echo late > late; echo late >&3; echo x >> "$2"; sleep 0.01; done';
    const pid = processes.shell(script, [held.path, progress], holder);
    await whenGrown(progress);
    await server.client.release(held, { disposition: Disposition.CLEAN, waitForClean: true });
    const events = await server.client.events(1n, { repository: name });
    expect(events.filter(({ kind }) => kind === EventKind.STRAGGLERS_FOUND).map(({ detail }) => detail)).toEqual([
      expect.stringContaining(`(${pid}, directory)`),
    ]);
    const next = await acquire();
    expect(state(next.path)).toEqual(await fresh());
    await whenGrown(progress, 20);
    expect([state(next.path), isRunning(pid)]).toEqual([await fresh(), true]);
    await server.client.releaseAndClean(next);
  });

  it("gets a directory of the user's own where the layout was changed meanwhile", async () => {
    await register();
    await server.client.releaseAndClean(await acquire());
    await server.stop();
    const one = await servers.start({ dataDir: server.dataDir, databaseUrl });
    const held = await one.client.acquire({ repository: name });
    expect(lstatSync(held.path).uid).toBe(0);
    writeFileSync(join(held.path, "notes.txt"), "made by root\n", { mode: 0o600 });
    mkdirSync(join(held.path, "private"), { mode: 0o700 });
    await one.stop();
    await server.start();
    await server.client.releaseAndClean(held);
    const salvage = await salvageOf(server.client, held);
    expect(await git(root, "--git-dir", salvage.repositoryPath, "show", `${salvage.ref}:notes.txt`)).toBe(
      "made by root",
    );
    const next = await acquire();
    expect(lstatSync(next.path).uid).toBe(holder.uid);
    expect(asHolder('cd "$1" && git status --porcelain', next.path)).toBe("");
    await server.client.releaseAndClean(next);
  }, 120_000);
});

describe("serve --holder-user", () => {
  const faultOf = async (user: string, dataDir = join(root ?? tmpdir(), "refused"), env: NodeJS.ProcessEnv = {}) => {
    const args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", dataDir, "--holder-user", user];
    const { status, stdout, stderr } = await leasehold("", args, { DATABASE_URL: databaseUrl ?? "", ...env });
    expect([status, stdout, stderr.split("\n").length]).toEqual([2, "", 2]);
    return stderr.replace(/^leasehold: holder_user: /, "").trim();
  };

  it("is refused for what is no user, or the server's own", async () => {
    expect(await faultOf("no such user")).toMatch(/must be a user's name, UID or UID:GID \(from --holder-user\)$/);
    if (!isRoot) return;
    expect(await faultOf("nosuchuser")).toBe("there is no user nosuchuser");
    expect(await faultOf("root")).toBe("root is the server's own user: name another one, or none");
    expect(await faultOf("0:5")).toBe("0:5 is the server's own user: name another one, or none");
  });

  it.skipIf(!isRoot)("is refused for the user that the embedded Postgres runs as", async () => {
    const uid = execFileSync("id", ["-u", "postgres"], { encoding: "utf8" }).trim();
    expect(await faultOf(uid, undefined, { DATABASE_URL: "" })).toMatch(
      /^the embedded Postgres runs as uid \d+: make a user/,
    );
  });

  it.skipIf(!isRoot)("is refused where the user could not come to its workspaces, or could replace them", async () => {
    const hidden = join(root, "hidden");
    mkdirSync(hidden, { mode: 0o700 });
    expect(await faultOf("61234", join(hidden, "data"))).toBe(
      `uid 61234 may not pass through ${hidden} to the workspaces`,
    );
    const open = join(root, "open");
    mkdirSync(open);
    chmodSync(open, 0o777);
    expect(await faultOf("61234", join(open, "data"))).toBe(
      `uid 61234 may write to ${open}, and could replace what is in it`,
    );
    chownSync(open, holder.uid, holder.gid);
    chmodSync(open, 0o555);
    expect(await faultOf("61234", join(open, "data"))).toBe(
      `${open} belongs to uid 61234, who could replace what is in it`,
    );
  });

  it.skipIf(!isRoot)("is refused where a symlink on the way to its directories is the user's to change", async () => {
    const [theirs, real] = [join(root, "theirs"), join(root, "real")];
    for (const path of [theirs, join(real, "data")]) mkdirSync(path, { recursive: true });
    // one link into the user's directory, which has one that leads to where all is well
    symlinkSync(join(real, "data"), join(theirs, "link"));
    symlinkSync(join("theirs", "link"), join(root, "first"));
    chownSync(theirs, holder.uid, holder.gid);
    expect(await faultOf("61234", join(root, "first"))).toBe(
      `${theirs} belongs to uid 61234, who could replace what is in it`,
    );
    chownSync(theirs, 0, 0);
    lchownSync(join(theirs, "link"), holder.uid, holder.gid);
    expect(await faultOf("61234", join(root, "first"))).toBe(
      `${join(theirs, "link")} belongs to uid 61234, who could replace what is in it`,
    );
  });

  it.skipIf(!isRoot)("is refused where the server has no privilege", async () => {
    const main = new URL("../../dist/src/main.js", import.meta.url).pathname;
    const own = join(root, "nobody");
    mkdirSync(own);
    chownSync(own, 65_534, 65_534);
    const args = [main, "serve", "--listen", "127.0.0.1:0", "--data-dir", join(own, "data"), "--holder-user", "61234"];
    const run = (command: string, before: string[]) => {
      const env = { PATH: process.env.PATH, HOME: own, DATABASE_URL: databaseUrl };
      try {
        execFileSync(command, [...before, ...args], {
          env,
          cwd: own,
          encoding: "utf8",
          stdio: ["ignore", "pipe", "pipe"],
        });
      } catch (error) {
        return error as { status: number; stderr: string };
      }
      throw new Error("it served");
    };
    const powerless = run("setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", process.execPath]);
    expect([powerless.status, powerless.stderr]).toEqual([
      2,
      "leasehold: holder_user: needs a server that runs as root, so that it can act as another user; this one runs as uid 65534\n",
    ]);
    const bounded = run("setpriv", ["--bounding-set=-setuid,-setgid", "--inh-caps=-setuid,-setgid", process.execPath]);
    expect(bounded.status).toBe(2);
    expect(bounded.stderr).toMatch(
      /this process may not act as uid 61234 \(EPERM\): it lacks CAP_SETUID and CAP_SETGID\n$/,
    );
  });

  it.skipIf(!isRoot)("is what doctor tells of", async () => {
    const of = async (...flags: string[]) => {
      const { stdout } = await leasehold("", ["doctor", "--output", "json", "--data-dir", server.dataDir, ...flags], {
        DATABASE_URL: databaseUrl,
      });
      return JSON.parse(stdout).checks.find(({ check }: { check: string }) => check === "layout");
    };
    expect(await of("--holder-user", "61234")).toMatchObject({
      verdict: "ok",
      found: expect.stringMatching(/^two uids: jobs run as uid 61234/),
    });
    expect(await of()).toMatchObject({ verdict: "ok", found: expect.stringMatching(/^one uid: /) });
    expect(await of("--holder-user", "root")).toMatchObject({ verdict: "broken" });
    expect(readFileSync(join(server.dataDir, "id"), "utf8")).toMatch(/^[0-9a-f-]{36}\n$/);
  });
});
