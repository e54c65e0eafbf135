// An agent that behaves as its turns say, and mostly badly. Its first argument says how it begins.
import { spawn } from "node:child_process";
import { closeSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

const [beginning = "ready", id = "odd-1"] = process.argv.slice(2);
const tell = (message) => process.stdout.write(`${typeof message === "string" ? message : JSON.stringify(message)}\n`);
const result = (turn, outcome = "completed", text = "") => tell({ type: "result", turn, outcome, text });

if (beginning === "deaf") for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => undefined);
if (beginning === "silent") setInterval(() => undefined, 1_000);
else if (beginning === "exits") {
  process.stderr.write("no licence\n");
  process.exit(7);
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const message = JSON.parse(line);
  if (beginning === "silent") return;
  if (message.type === "start") begin(message);
  if (message.type === "turn") take(message);
  if (message.type === "stop" && beginning !== "deaf") process.exit(0);
  if (message.type === "cancel" && cancellable !== undefined) {
    result(cancellable, "cancelled");
    cancellable = undefined;
  }
});
process.stdin.on("end", () => beginning === "deaf" || process.exit(0));
if (beginning === "deaf") setInterval(() => undefined, 1_000);

let cancellable;

function begin({ resume, blocker }) {
  tell({ type: "status", text: `resume ${resume}, blocker ${blocker}` });
  if (beginning === "late") return tell({ type: "ready", protocol: 1 });
  const forgets = beginning === "forgets" && resume !== null;
  tell({
    type: "ready",
    protocol: 1,
    session: forgets ? `${id}-new` : (resume ?? id),
    resumed: resume !== null && !forgets,
  });
}

async function take({ turn, text }) {
  const [verb, rest = ""] = text.split(/ (.*)/s);
  switch (verb) {
    case "everything":
      tell({ type: "text", text: "a" });
      tell({ type: "reasoning", text: "b" });
      tell({ type: "tool_call", id: "t1", name: "read", input: { path: "x", lines: [1, 2] } });
      tell({ type: "tool_update", id: "t1", status: "completed", output: "c" });
      tell({ type: "commands", commands: [{ name: "help", description: "helps" }, { name: "go" }] });
      tell({ type: "status", text: "thinking" });
      tell({ type: "error", message: "a little problem" });
      return tell({ type: "result", turn, outcome: "completed", text: "d", usage: { tokens: 12 } });
    case "garbage":
      tell("this is no JSON \u0000");
      tell("[1, 2");
      tell({ type: "unheard-of" });
      tell({ type: "text" });
      tell("");
      tell({ type: "result", turn: turn + 7, outcome: "completed" });
      return result(turn);
    case "huge":
      tell({ type: "text", text: "x".repeat(Number(rest)) });
      return result(turn);
    case "flood": {
      for (let index = 0; index < Number(rest); index++) {
        if (!tell({ type: "text", text: `${index} ${"y".repeat(200)}` })) {
          writeFileSync("flood.txt", String(index));
          await new Promise((resolve) => process.stdout.once("drain", resolve));
        }
      }
      return result(turn);
    }
    case "session":
      tell({ type: "session", session: rest });
      return result(turn);
    case "exit":
      process.stderr.write("it broke\n");
      return process.exit(Number(rest));
    case "close":
      closeSync(1);
      return setInterval(() => undefined, 1_000);
    case "cancellable":
      cancellable = turn;
      return tell({ type: "text", text: "working" });
    case "hang":
      return tell({ type: "text", text: "hanging" });
    case "children": {
      // one child, and a grandchild that outlives its own parent
      const grand = spawn("sh", ["-c", "sleep 600 & echo $!; exec sleep 600"], { stdio: ["ignore", "pipe", "ignore"] });
      grand.stdout.once("data", (pid) => {
        tell({ type: "text", text: JSON.stringify([process.pid, grand.pid, Number(pid)]) });
        result(turn);
      });
      return;
    }
    case "environment":
      tell({ type: "text", text: JSON.stringify({ ...process.env, cwd: process.cwd() }) });
      return result(turn);
    default:
      return result(turn, "completed", text);
  }
}
