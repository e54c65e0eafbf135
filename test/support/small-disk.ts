/** Owns: a small file system of a test's own, which root alone can mount. */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { until } from "./until.js";

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

  /** Leaves so many bytes free, by a file that nobody but the test removes. */
  async fill(left = 0, name = "ballast"): Promise<void> {
    const bytes = (await this.free()) - left;
    if (bytes > 0) writeFileSync(join(this.path, name), Buffer.alloc(bytes, 1));
  }

  empty(name = "ballast"): void {
    rmSync(join(this.path, name), { force: true });
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
