// Owns: a package-lock.json that names the optional packages of every platform.
//
// `npm ci` wants them all. `npm install` leaves out those that the registry at hand does not carry, which a mirror may
// well do for platforms that are not its own. Run this after a change of dependencies: `node scripts/complete-lock.mjs`.
//
// 1. Only optional packages pinned to one version are added, for the platform that their name tells, without a hash:
//    nothing is known of their content here, and nothing of it is ever loaded here.
import { readFileSync, writeFileSync } from "node:fs";

const systems = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "sunos", "win32"];
const processors = { arm64: "arm64", aarch64: "arm64", armv7: "arm", arm: "arm", x64: "x64" };

const file = new URL("../package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(file, "utf8"));

for (const [path, entry] of Object.entries(lock.packages)) {
  if (path === "") {
    continue; // our own are all carried, or we would not use them
  }
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const place = `node_modules/${name}`;
    const words = name.split(/[/-]/);
    const os = systems.find((system) => words.includes(system));
    const cpu = Object.keys(processors).find((processor) => words.includes(processor));
    if (lock.packages[place] === undefined && os !== undefined && cpu !== undefined && /^\d/.test(version)) {
      console.log(`adding ${name}@${version}`);
      lock.packages[place] = {
        version,
        cpu: [processors[cpu]],
        ...(entry.dev ? { dev: true } : {}),
        ...(words.includes("musl") ? { libc: ["musl"] } : {}),
        optional: true,
        os: [os],
      };
    }
  }
}
const sorted = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1));
lock.packages = Object.fromEntries(sorted);
writeFileSync(file, `${JSON.stringify(lock, undefined, 2)}\n`);
