// Owns: `dist/`, built from the sources when they have changed.
//
// 1. `dist/` is replaced as a whole: no file of a source that is gone stays, and a failed build leaves the old one.
// 2. What tsc does not copy (SQL and the like) is copied.
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runQuietly, SetupError } from "./command.mjs";
import { withLock } from "./lock.mjs";
import { built, lockFile, root } from "./paths.mjs";
import { during, say } from "./progress.mjs";

const sources = ["src", "gen", "bench", "proto", "tsconfig.json", "package.json", "setup/build.mjs"];
const stamp = ".sources";

/** Whether `dist/` is what the sources give. */
export function isBuilt() {
  try {
    return readFileSync(built(stamp), "utf8") === digest();
  } catch {
    return false;
  }
}

export async function buildIfNeeded() {
  if (!isBuilt()) {
    await during("building", build);
  }
}

async function build() {
  const fresh = root(`dist.${process.pid}`);
  const old = root(`dist.${process.pid}.old`);
  const before = digest();
  try {
    const compiler = root("node_modules/typescript/bin/tsc");
    const flags = [compiler, "--project", root("tsconfig.json"), "--outDir", fresh];
    await runQuietly(process.execPath, flags, { cwd: root(), what: "the build" });
    cpSync(root("src"), join(fresh, "src"), { recursive: true, filter: (path) => !path.endsWith(".ts") });
    const main = join(fresh, "src/main.js");
    if (existsSync(main)) {
      chmodSync(main, 0o755);
    }
    writeFileSync(join(fresh, stamp), before);
    if (existsSync(built())) {
      renameSync(built(), old);
    }
    renameSync(fresh, built());
  } finally {
    rmSync(fresh, { recursive: true, force: true });
    rmSync(old, { recursive: true, force: true });
  }
}

/** Of every source's path, size and time of change. */
function digest() {
  const hash = createHash("sha256").update(process.version);
  for (const source of sources) {
    if (existsSync(root(source))) {
      add(hash, source);
    }
  }
  return hash.digest("hex");
}

function add(hash, path) {
  const found = statSync(root(path));
  if (!found.isDirectory()) {
    hash.update(`${path}\0${found.size}\0${found.mtimeMs}\n`);
    return;
  }
  for (const name of readdirSync(root(path)).sort()) {
    add(hash, join(path, name));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    if (!isBuilt()) {
      await withLock(lockFile(), buildIfNeeded);
    }
  } catch (error) {
    if (!(error instanceof SetupError)) {
      throw error;
    }
    say(error.message);
    process.exitCode = 1;
  }
}
