// Owns: the entry of a git worker with failpoints: the product's own entry, with every call that changes the disk counted
// and named. What is to happen is read from `<control>/armed-*.json` when a call begins: the first whose `about` the call's job mentions. It happens once.
//
// A point's name: the operation, the function, and the path without what differs from run to run.
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [, , product, control] = process.argv;
const { appendFileSync, readdirSync, readFileSync, renameSync } = fs;
const changing = [
  "renameSync",
  "mkdirSync",
  "writeFileSync",
  "linkSync",
  "symlinkSync",
  "copyFileSync",
  "unlinkSync",
  "rmdirSync",
  "rmSync",
  "chmodSync",
  "openSync",
  "closeSync",
  "writeSync",
  "fsyncSync",
];

let operation = "";
let armed;
let armedFile = "";
const seen = new Set();

/** Without workspace, fences, ids and processes. */
function generic(path) {
  return String(path)
    .replace(/\.tmp-[\w-]+/g, ".tmp")
    .replace(/^.*\/(workspaces|salvages|indexes|trash|mirrors)\//, "$1/")
    .replace(/^(workspaces|salvages)\/[^/]+?(\.git)?\//, "$1/R$2/")
    .replace(/^.*\/data\//, "data/")
    .replace(/\bw\d+(\.\d+)?/g, "W")
    .replace(/\bs\d+\.\d+/g, "S")
    .replace(/[0-9a-f]{38,}/g, "#")
    .replace(/\/[0-9a-f]{2}(\/|$)/g, "/##$1")
    .replace(/[0-9a-z]+-[0-9a-f]{12}/g, "BIN")
    .replace(/\d+/g, "N");
}

/** The work at hand passes a point. */
function pass(name) {
  if (!armed || operation === "") return;
  const point = `${operation} ${name}`;
  if (armed.trace) {
    const { trace } = armed;
    armed = undefined; // to append is a change of the disk itself
    if (!seen.has(point)) appendFileSync(trace, `${point}\n`);
    seen.add(point);
    armed = { trace };
    return;
  }
  if (armed.point !== point) return;
  const { action } = armed;
  armed = undefined;
  try {
    renameSync(armedFile, `${armedFile}.hit`); // only one worker may
  } catch {
    return;
  }
  if (action === "kill-server") process.kill(process.ppid, "SIGKILL");
  if (action === "kill-server" || action === "kill-worker") process.kill(process.pid, "SIGKILL");
  const [code, message] =
    action === "full" ? ["ENOSPC", "no space left on device"] : ["EROFS", "read-only file system"];
  throw Object.assign(new Error(`${code}: ${message}`), { code, syscall: name, path: "" });
}

for (const name of changing) {
  const real = fs[name];
  fs[name] = (...args) => {
    if (armed) pass(`${name} ${typeof args[0] === "number" ? "" : generic(args[0])}`.trim());
    return real(...args);
  };
}
syncBuiltinESMExports();

const send = process.send.bind(process);
process.send = (message, ...rest) => {
  if (message.kind === "done") pass("end");
  return send(message, ...rest);
};

/** What is armed for this job. */
function arm(job) {
  const text = JSON.stringify(job);
  for (const name of readdirSync(control)) {
    if (!/^armed-.*\.json$/.test(name)) continue;
    armedFile = join(control, name);
    const found = JSON.parse(readFileSync(armedFile, "utf8"));
    if (text.includes(found.about)) return found;
  }
  return undefined;
}

// only now: whoever listens first would take a call that the product does not hear of
await import(pathToFileURL(product).href);
process.prependListener("message", ({ operation: next, job }) => {
  operation = next;
  try {
    armed = arm(job);
  } catch {
    armed = undefined; // it was disarmed just now
  }
  pass("begin");
});
