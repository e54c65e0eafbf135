// Owns: letting a server of a test start its git workers through `worker.mjs`, which has failpoints. Loaded with
// `node --import`; nothing of it is in the product. `LEASEHOLD_TEST_FAILPOINTS` names the directory that controls them.
import child_process from "node:child_process";
import { syncBuiltinESMExports } from "node:module";
import { fileURLToPath } from "node:url";

const entry = fileURLToPath(new URL("./worker.mjs", import.meta.url));
const control = process.env.LEASEHOLD_TEST_FAILPOINTS;
const { fork } = child_process;

child_process.fork = (path, args, options) =>
  String(path).endsWith("/git/worker/main.js")
    ? fork(entry, [String(path), control], options)
    : fork(path, args, options);
syncBuiltinESMExports();
