// Owns: a nodegit that loads: from the cache, else compiled.
//
// 1. Whether it works is always tried in a process of its own: a binary that does not fit may end the process.
// 2. Its own install script is not used: it asks a server for a binary first, and compiles with one job.
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { SetupError, succeeds } from "./command.mjs";
import { compile } from "./compile.mjs";
import { glibcVersion } from "./dependencies.mjs";
import { findHeaders } from "./node-headers.mjs";
import { cacheDirectory, root } from "./paths.mjs";
import { say } from "./progress.mjs";
import { ensureSystemPackages } from "./system-packages.mjs";

/** Whether the installed nodegit loads under this Node. */
export function nodegitLoads() {
  return succeeds(process.execPath, ["-e", "require('nodegit')"], { cwd: root() });
}

/** Makes it load, or throws what the user can do about it. */
export async function makeNodegit() {
  const directory = nodegitDirectory();
  const binary = join(directory, "build/Release/nodegit.node");
  const kept = keptBinary(directory);
  if (kept !== undefined && (await takeFrom(kept, binary))) {
    say("nodegit was compiled before on this machine: using that");
    return;
  }
  await ensureSystemPackages();
  await compile(directory, await findHeaders());
  if (!(await nodegitLoads())) {
    throw new SetupError(`nodegit was compiled, but does not load: try \`node -e "require('nodegit')"\` to see why`);
  }
  if (kept !== undefined) {
    keep(binary, kept);
  }
}

function nodegitDirectory() {
  return dirname(createRequire(root("package.json")).resolve("nodegit/package.json"));
}

/** One file per whatever decides whether a binary fits. */
function keptBinary(directory) {
  const cache = cacheDirectory();
  const { version } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
  const glibc = glibcVersion();
  const libc = process.platform === "linux" ? `-${glibc === undefined ? "musl" : `glibc${glibc}`}` : "";
  const name = `nodegit-${version}-abi${process.versions.modules}-${process.platform}-${process.arch}${libc}.node`;
  return cache && join(cache, name);
}

async function takeFrom(kept, binary) {
  try {
    replace(kept, binary);
  } catch {
    return false; // there is none
  }
  if (await nodegitLoads()) {
    return true;
  }
  say("the nodegit in the cache does not load: compiling it anew");
  rmSync(kept, { force: true });
  rmSync(binary, { force: true });
  return false;
}

function keep(binary, kept) {
  try {
    replace(binary, kept);
  } catch (error) {
    say(`the compiled nodegit is not kept for other checkouts: ${error instanceof Error ? error.message : error}`);
  }
}

function replace(from, to) {
  const fresh = `${to}.${process.pid}`;
  mkdirSync(dirname(to), { recursive: true });
  try {
    copyFileSync(from, fresh);
    renameSync(fresh, to);
  } finally {
    rmSync(fresh, { force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    if (!(await nodegitLoads())) {
      await makeNodegit();
    }
  } catch (error) {
    if (!(error instanceof SetupError)) {
      throw error;
    }
    say(error.message);
    process.exitCode = 1;
  }
}
