// Owns: compiling nodegit in place, as fast as the machine allows, with a line that tells how far it is.
//
// 1. A compile that was broken off goes on where it stopped, if it was for the same Node.
// 2. The C++ glue is compiled with little optimisation and a precompiled header (half the time); the C code, which
//    does the work, as nodegit compiles it.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { runQuietly } from "./command.mjs";
import { precompileHeader } from "./precompiled-header.mjs";
import { during } from "./progress.mjs";

/** A C++ file takes about this many times as long as a C file. */
const glueWeight = 10;

/**
 * @param {string} directory nodegit's
 * @param {string | undefined} headers the prefix with Node's headers
 */
export async function compile(directory, headers) {
  const gyp = createRequire(join(directory, "package.json")).resolve("node-gyp/bin/node-gyp.js");
  const build = join(directory, "build");
  const jobs = availableParallelism();
  const flags = headers === undefined ? [] : [`--nodedir=${headers}`];
  const env = { ...process.env, CXXFLAGS: process.env.CXXFLAGS ?? "-O1" };
  const run = (command) =>
    runQuietly(process.execPath, [gyp, ...command, ...flags], { cwd: directory, env, what: "compiling nodegit" });

  startOver(build);
  await during(
    `compiling nodegit (once; minutes, ${jobs} at a time)`,
    async () => {
      await run(["configure"]);
      const include = await precompileHeader(build, env);
      env.CXXFLAGS += include;
      await run(["build", `--jobs=${jobs}`]);
    },
    () => progressOf(build),
  );
  removeIntermediate(build);
}

/** Objects for another Node must not be taken for finished ones. */
function startOver(build) {
  const mark = join(build, ".for");
  const wanted = `${process.version} ${process.arch}`;
  if (!existsSync(mark) || readFileSync(mark, "utf8") !== wanted) {
    rmSync(build, { recursive: true, force: true });
    mkdirSync(build, { recursive: true });
    writeFileSync(mark, wanted);
  }
}

/** The part of the work that is done, by counting objects; undefined before it is known how many there are. */
function progressOf(build) {
  let all = 0;
  let done = 0;
  for (const object of objectsIn(build)) {
    const weight = object.includes("/obj.target/nodegit/") ? glueWeight : 1;
    all += weight;
    done += existsSync(object) ? weight : 0;
  }
  return all === 0 ? undefined : done / all;
}

function objectsIn(build) {
  if (!existsSync(join(build, "vendor"))) {
    return [];
  }
  const files = [build, join(build, "vendor")].flatMap((directory) =>
    readdirSync(directory)
      .filter((name) => name.endsWith(".target.mk"))
      .map((name) => join(directory, name)),
  );
  return files.flatMap((file) => {
    const text = readFileSync(file, "utf8");
    const target = /^TARGET := (.*)$/m.exec(text)?.[1] ?? "";
    const objects = text.matchAll(/^\t\$\(obj\)\.target\/\$\(TARGET\)\/(\S+\.o)\b/gm);
    return Array.from(objects, ([, object]) => join(build, "Release/obj.target", target, object ?? ""));
  });
}

/** Some hundred megabytes that nobody needs again; the binary stays. */
function removeIntermediate(build) {
  const binary = join(build, "Release/nodegit.node");
  const kept = join(build, "../nodegit.node.kept");
  renameSync(binary, kept);
  rmSync(build, { recursive: true, force: true });
  mkdirSync(join(build, "Release"), { recursive: true });
  renameSync(kept, binary);
}
