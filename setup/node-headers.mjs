// Owns: the header files of the running Node, which a compiled addon needs.
//
// 1. Those beside the node binary if they are of this very version; else those in the registry's package of the same
//    version, kept in the cache. Without either node-gyp is left to find them its own way.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { npm, runQuietly } from "./command.mjs";
import { cacheDirectory } from "./paths.mjs";
import { during, say } from "./progress.mjs";

/** A directory with `include/node`; undefined where none can be had. */
export async function findHeaders() {
  const near = [process.env.npm_config_nodedir, dirname(dirname(realpathSync(process.execPath)))];
  const kept = keptPlace();
  const found = [...near, kept].find((prefix) => prefix !== undefined && isThisVersion(prefix));
  if (found !== undefined) {
    return found;
  }
  try {
    return await during(`fetching the header files of Node ${process.versions.node}`, () => fetch(kept));
  } catch (error) {
    say(`${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

function isThisVersion(prefix) {
  try {
    const text = readFileSync(join(prefix, "include/node/node_version.h"), "utf8");
    const part = (name) => new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(text)?.[1];
    return ["MAJOR", "MINOR", "PATCH"].map(part).join(".") === process.versions.node;
  } catch {
    return false;
  }
}

function keptPlace() {
  const cache = cacheDirectory();
  return cache && join(cache, `node-headers-${process.versions.node}`);
}

async function fetch(kept) {
  const staging = mkdtempSync(join(tmpdir(), "leasehold-headers-"));
  const { program, flags } = npm();
  const name = `node-${process.platform}-${process.arch}@${process.versions.node}`;
  const pack = [...flags, "pack", name, "--pack-destination", staging];
  await runQuietly(program, pack, { cwd: staging, what: `fetching ${name}` });
  const archive = readdirSync(staging).find((file) => file.endsWith(".tgz")) ?? "";
  await runQuietly("tar", ["-xzf", archive, "package/include"], { cwd: staging, what: `unpacking ${archive}` });
  rmSync(join(staging, archive));
  const unpacked = join(staging, "package");
  if (kept === undefined) {
    process.once("exit", () => rmSync(staging, { recursive: true, force: true }));
    return unpacked;
  }
  mkdirSync(dirname(kept), { recursive: true });
  await runQuietly("cp", ["-R", unpacked, `${kept}.${process.pid}`], { what: "keeping the header files" });
  rmSync(staging, { recursive: true, force: true });
  try {
    renameSync(`${kept}.${process.pid}`, kept);
  } catch {
    rmSync(`${kept}.${process.pid}`, { recursive: true, force: true }); // another one was first
  }
  return kept;
}
