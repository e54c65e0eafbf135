/**
 * Does one operation and dies by SIGKILL right before its n-th change of the disk (from 0).
 * Arguments: the module's URL, the operation, its request as JSON, n.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const [module, operation, request, step] = process.argv.slice(2);
let left = Number.POSITIVE_INFINITY;
for (const name of ["renameSync", "mkdirSync", "writeSync", "fsyncSync", "utimesSync", "unlinkSync", "rmdirSync"]) {
  const original = fs[name];
  fs[name] = (...args) => {
    if (left-- <= 0) {
      process.kill(process.pid, "SIGKILL");
      for (;;);
    }
    return original(...args);
  };
}
syncBuiltinESMExports();
const operations = await import(module);
left = Number(step);
process.stdout.write(JSON.stringify(await operations[operation](JSON.parse(request))));
