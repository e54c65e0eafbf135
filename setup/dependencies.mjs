// Owns: node_modules as package-lock.json says.
//
// 1. No install script of any package is needed: what they would do is done here (nodegit) or when it is used (the
//    links of the embedded Postgres). So it does not matter whether npm runs them, and none is run.
// 2. An installation that was broken off is noticed and done again.
import { lstatSync, readFileSync } from "node:fs";
import { npm, runQuietly, SetupError } from "./command.mjs";
import { root } from "./paths.mjs";
import { during, say } from "./progress.mjs";

/**
 * Optional in package.json, so that those who only use the client need no compiler and no libraries; needed here, and
 * required by no platform's name.
 */
const needed = ["node_modules/nodegit"];

/** Whether every package that this machine needs is there in the version of the lock file. */
export function areInstalled() {
  const wanted = readPackages(root("package-lock.json"));
  const present = readPackages(root("node_modules/.package-lock.json")); // npm writes it when it has finished
  if (wanted === undefined) {
    throw new SetupError("package-lock.json is missing or damaged: take it from the repository again");
  }
  if (present === undefined) {
    return false;
  }
  return Object.entries(wanted).every(([path, entry]) => {
    const found = present[path];
    return found === undefined ? path === "" || !isNeeded(path, entry) : found.version === entry.version;
  });
}

/** Installs exactly the lock file's packages. */
export async function install() {
  if (lstatSync(root("node_modules"), { throwIfNoEntry: false })?.isSymbolicLink()) {
    throw new SetupError(
      "node_modules is a symbolic link and does not fit package-lock.json: run `npm ci` where it points",
    );
  }
  const { program, flags } = npm();
  const command = [
    ...flags,
    "ci",
    "--ignore-scripts",
    "--include=dev",
    "--include=optional",
    "--no-audit",
    "--no-fund",
  ];
  const attempt = () => runQuietly(program, command, { cwd: root(), what: "npm ci" });
  await during("installing the packages", async () => {
    try {
      await attempt();
    } catch (error) {
      say(`${error instanceof Error ? error.message : error}\nonce more`);
      await attempt();
    }
  });
}

/** @returns {Record<string, any> | undefined} */
function readPackages(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8")).packages;
  } catch {
    return undefined;
  }
}

/** An optional package is needed here if it names this platform; one that names none belongs to one of those. */
function isNeeded(path, entry) {
  if (!entry.optional || needed.includes(path)) {
    return true;
  }
  return (
    entry.os?.includes(process.platform) === true &&
    (entry.cpu === undefined || entry.cpu.includes(process.arch)) &&
    (entry.libc === undefined || entry.libc.includes(libc()))
  );
}

/** As npm names it. */
function libc() {
  return glibcVersion() === undefined ? "musl" : "glibc";
}

/** As `2.36`; undefined where the C library is another. */
export function glibcVersion() {
  const report = /** @type {any} */ (process.report.getReport());
  return report.header.glibcVersionRuntime;
}
