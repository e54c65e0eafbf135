/** Owns: a small file system of a test's own, which root alone can mount. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { type Held, readRefusal } from "./rpc-client.js";
import type { Servers } from "./server.js";
import { until } from "./until.js";
import { Upstream } from "./upstream.js";

/** Whether one can be mounted here. Says so where it cannot. */
export function canMount(): boolean {
  const probe = `/tmp/leasehold-mount-probe-${process.pid}`;
  try {
    mkdirSync(probe, { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", probe], { stdio: "ignore" });
    execFileSync("umount", [probe]);
    return true;
  } catch {
    process.stdout.write("skipped: no file system can be mounted here, so none can be full\n");
    return false;
  } finally {
    rmSync(probe, { recursive: true, force: true });
  }
}

/** A server on a file system of 200 MB, with a repository whose workspaces take 2 MB, one of which is kept idle. */
export async function serveOnSmallDisk(servers: Servers, repository: string) {
  const root = await servers.directory();
  const disk = new SmallDisk(join(root, "disk"), "200m");
  const upstream = await Upstream.make(root, repository, { blob: randomBytes(1_500_000).toString("base64") });
  const flags = ["--disk-low", "40MiB", "--disk-min-free", "20MiB", "--ttl-min", "1s"];
  const databaseUrl = await servers.database();
  const server = await servers.start({ databaseUrl, dataDir: join(disk.path, "data"), flags });
  servers.atEnd(async () => {
    await server.kill9();
    await disk.unmount();
  });
  const { client } = server;
  await client.admin.registerRepository({ repository: { name: repository, url: upstream.url, minIdle: 1 } });
  const counts = async () => (await client.admin.listRepositories({ name: repository })).repositories[0]?.workspaces;
  const usage = async () => {
    const [host] = (await client.admin.getUsage({ includeWorkspaces: true })).hosts;
    if (!host) throw new Error("no host");
    return host;
  };
  /** Takes what is warm, until nothing is. */
  const takeAll = async () => {
    const held: Held[] = [];
    for (;;) {
      const [outcome] = await Promise.allSettled([client.acquire({ repository })]);
      if (outcome.status === "rejected") return { held, refused: readRefusal(outcome.reason) };
      held.push(outcome.value);
    }
  };
  await until("one is idle", async () => (await counts())?.idle === 1);
  return { disk, client, counts, usage, takeAll, sql: servers.sql(databaseUrl) };
}

export type SmallServer = Awaited<ReturnType<typeof serveOnSmallDisk>>;

export class SmallDisk {
  readonly path: string;

  /** `size`: as mount takes it, such as `200m`. */
  constructor(path: string, size: string) {
    this.path = path;
    mkdirSync(path);
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", path]);
  }

  async free(): Promise<number> {
    const { bavail, bsize } = await statfs(this.path);
    return bavail * bsize;
  }

  /** Leaves so many bytes free, by a file that nobody but the test removes, and that grows with each call. */
  async fill(left = 0, name = "ballast"): Promise<void> {
    const bytes = (await this.free()) - left;
    try {
      if (bytes > 0) writeFileSync(join(this.path, name), Buffer.alloc(bytes, 1), { flag: "a" });
    } catch (error) {
      // somebody else has written meanwhile
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    }
  }

  /** `options`: as mount takes them, such as `ro` or `size=64m`. Fails where something stands against it. */
  remount(options: string): void {
    execFileSync("mount", ["-o", `remount,${options}`, this.path], { stdio: "ignore" });
  }

  empty(name = "ballast"): void {
    rmSync(join(this.path, name), { force: true });
  }

  /** Takes it away at once; the kernel lets it go when its last file is closed. */
  detach(): void {
    execFileSync("umount", ["-l", this.path]);
  }

  /** Workers hold it until they have died with their server. */
  async unmount(): Promise<void> {
    await until("the disk is free", () => {
      try {
        execFileSync("umount", [this.path], { stdio: "ignore" });
        return true;
      } catch {
        return false;
      }
    });
  }
}
