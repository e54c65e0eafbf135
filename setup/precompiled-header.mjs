// Owns: a precompiled header for nodegit's glue: its 160 C++ files all read the same 100,000 lines of V8 and the
// standard library first, which is most of the work.
//
// 1. It can only make things faster: a compiler that cannot use it (other flags, another compiler) reads the plain
//    header of the same name instead, which changes nothing in the meaning of the files.
import { execFile } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { succeeds } from "./command.mjs";

const headers = [
  "nan.h",
  "algorithm",
  "functional",
  "iostream",
  "map",
  "memory",
  "mutex",
  "set",
  "sstream",
  "string",
  "thread",
  "vector",
];
const outputLimit = 256 * 1024 * 1024;

/**
 * Makes it in the configured build directory; answers the flags to compile with, none where it cannot be made.
 * @param {string} build
 * @param {NodeJS.ProcessEnv} env
 */
export async function precompileHeader(build, env) {
  const header = join(build, "glue.h");
  if (!existsSync(`${header}.gch`)) {
    const command = await commandOf(build, env);
    if (command === undefined) {
      return "";
    }
    writeFileSync(header, headers.map((name) => `#include <${name}>\n`).join(""));
    const shell = `${command} -x c++-header -o '${header}.gch' '${header}'`;
    if (!(await succeeds("sh", ["-c", shell], { cwd: build }))) {
      return "";
    }
  }
  return ` -include '${header}'`;
}

/** The command that compiles one of the files, without the file. */
async function commandOf(build, env) {
  try {
    const flags = ["-n", "V=1", "BUILDTYPE=Release", "Release/obj.target/nodegit/src/oid.o"];
    const { stdout } = await promisify(execFile)("make", flags, { cwd: build, env, maxBuffer: outputLimit });
    const line = stdout
      .split("\n")
      .find((text) => / -o Release\/obj\.target\/nodegit\/src\/\S+ \S+\.cc /.test(text) && !text.startsWith("printf"));
    return line
      ?.replace(/ -o \S+ \S+\.cc /, " ")
      .replace(/ -MMD -MF \S+/, "")
      .replace(/ -c$/, "");
  } catch {
    return undefined;
  }
}
