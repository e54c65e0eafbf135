// Owns: what of the system is needed to compile nodegit, and getting it.
//
// 1. Installed without a question where that is allowed: root on a system with apt. Elsewhere one message with the
//    command to type.
import { runQuietly, SetupError, succeeds } from "./command.mjs";
import { during } from "./progress.mjs";

const compiler = process.env.CXX || "g++";
const header = (name) => () => succeeds(compiler, ["-E", "-x", "c++", "-"], { input: `#include <${name}>\n` });

/** What is needed, how it is noticed, and its package by package manager. */
const needs = [
  {
    found: () => succeeds("python3", ["-c", "import sys; sys.exit(sys.version_info < (3, 8))"]),
    apt: "python3",
    dnf: "python3",
    apk: "python3",
    pacman: "python",
  },
  { found: () => succeeds("make", ["--version"]), apt: "make", dnf: "make", apk: "make", pacman: "make" },
  { found: () => succeeds(compiler, ["--version"]), apt: "g++", dnf: "gcc-c++", apk: "g++", pacman: "gcc" },
  { found: header("openssl/ssl.h"), apt: "libssl-dev", dnf: "openssl-devel", apk: "openssl-dev", pacman: "openssl" },
  {
    found: async () => (await header("gssapi/gssapi.h")()) && (await succeeds("krb5-config", ["gssapi", "--libs"])),
    apt: "libkrb5-dev",
    dnf: "krb5-devel",
    apk: "krb5-dev",
    pacman: "krb5",
  },
];

const managers = [
  { key: "apt", program: "apt-get", install: "apt-get install -y" },
  { key: "dnf", program: "dnf", install: "dnf install -y" },
  { key: "apk", program: "apk", install: "apk add" },
  { key: "pacman", program: "pacman", install: "pacman -S --needed" },
];

/** Makes sure that everything is there. */
export async function ensureSystemPackages() {
  const missing = await findMissing();
  if (missing.length === 0) {
    return;
  }
  const manager = await findManager();
  if (manager?.key === "apt" && process.getuid?.() === 0) {
    await installWithApt(missing.map((need) => need.apt));
    const still = await findMissing();
    if (still.length === 0) {
      return;
    }
    throw new SetupError(`apt-get installed ${names(still, "apt")}, but the compiler does not find it`);
  }
  throw new SetupError(advice(missing, manager));
}

async function findMissing() {
  const found = await Promise.all(needs.map((need) => need.found()));
  // The headers cannot be looked for without a compiler: ask for all of them at once rather than one after another.
  return needs.filter((_need, index) => !found[index]);
}

async function findManager() {
  for (const manager of managers) {
    if (await succeeds(manager.program, ["--version"])) {
      return manager;
    }
  }
  return undefined;
}

async function installWithApt(packages) {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const install = ["install", "-y", "--no-install-recommends", ...packages];
  await during(`installing system packages (${packages.join(" ")})`, async () => {
    try {
      await runQuietly("apt-get", install, { env, what: "apt-get install" });
    } catch {
      // A machine that is new has no package lists, or old ones.
      await runQuietly("apt-get", ["update"], { env, what: "apt-get update" });
      await runQuietly("apt-get", install, { env, what: "apt-get install" });
    }
  });
}

function advice(missing, manager) {
  const purpose = "system packages that are needed to compile nodegit are missing";
  if (manager === undefined) {
    return `${purpose}: ${names(missing, "apt")} (as Debian names them). Install them and start again.`;
  }
  const sudo = process.getuid?.() === 0 ? "" : "sudo ";
  return `${purpose}. Type this, and start again:\n\n  ${sudo}${manager.install} ${names(missing, manager.key)}\n`;
}

function names(missing, key) {
  return missing.map((need) => need[key]).join(" ");
}
