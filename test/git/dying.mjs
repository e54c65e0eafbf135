/**
 * Does one operation and dies by SIGKILL right before its n-th change of the disk (from 0), or with half of it done if
 * that is to copy a file.
 * Arguments: the module's URL, the operation, its request as JSON, n.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const [module, operation, request, step] = process.argv.slice(2);
let left = Number.POSITIVE_INFINITY;
const names = [
  "renameSync",
  "mkdirSync",
  "writeSync",
  "fsyncSync",
  "utimesSync",
  "unlinkSync",
  "rmdirSync",
  "linkSync",
];
for (const name of names) {
  const original = fs[name];
  fs[name] = (...args) => {
    if (left-- <= 0) {
      process.kill(process.pid, "SIGKILL");
      for (;;);
    }
    return original(...args);
  };
}
const { copyFileSync, truncateSync, statSync } = fs;
fs.copyFileSync = (from, to, ...rest) => {
  copyFileSync(from, to, ...rest);
  if (left-- > 0) return;
  truncateSync(to, Math.floor(statSync(to).size / 2));
  process.kill(process.pid, "SIGKILL");
  for (;;);
};
syncBuiltinESMExports();
const operations = await import(module);
left = Number(step);
process.stdout.write(JSON.stringify(await operations[operation](JSON.parse(request))) ?? "null");
