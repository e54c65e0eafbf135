#!/usr/bin/env node
// An agent without a model: it does what its turns say, line by line, and speaks the protocol of docs/agents.md.
//
// It remembers its conversation in a file named after its backend session id, outside of the workspace, in
// EXAMPLE_AGENT_STATE or else ~/.local/state/leasehold-example-agent. Started again with that id, it goes on with it.
//
//   say TEXT             tells a text
//   think TEXT           tells a reasoning
//   write PATH TEXT      writes a file       append PATH TEXT, delete PATH, move PATH PATH: likewise
//   run COMMAND          runs it with sh, as a tool call
//   commit MESSAGE       commits all that there is
//   recall               tells all turns of the conversation
//   wait MILLISECONDS    waits; a cancelled turn ends here
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";

const home = process.env.EXAMPLE_AGENT_STATE ?? join(homedir(), ".local/state/leasehold-example-agent");
const tell = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

let conversation;
let cancelled = new AbortController();
let working = Promise.resolve();
let tools = 0;

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  if (message.type === "start") start(message);
  else if (message.type === "turn") working = working.then(() => take(message));
  else if (message.type === "cancel") cancelled.abort();
  else if (message.type === "stop") break;
}
// The runner has said goodbye, or died: either way there is nobody to work for.
process.exit(0);

function start({ protocol, resume }) {
  if (protocol !== 1) {
    tell({ type: "error", message: `protocol ${protocol} is none that I speak` });
    process.exit(2);
  }
  const known = resume === null ? undefined : read(resume);
  conversation = known ?? { id: `example-${randomUUID()}`, turns: [] };
  save();
  tell({ type: "ready", protocol: 1, session: conversation.id, resumed: known !== undefined });
  tell({
    type: "commands",
    commands: ["say", "think", "write", "append", "delete", "move", "run", "commit", "recall", "wait"].map((name) => ({
      name,
    })),
  });
}

async function take({ turn, text }) {
  cancelled = new AbortController();
  conversation.turns.push(text);
  save();
  try {
    for (const line of text.split("\n")) {
      cancelled.signal.throwIfAborted();
      if (line.trim() !== "") await obey(line.trim());
    }
    tell({
      type: "result",
      turn,
      outcome: "completed",
      text: `turn ${conversation.turns.length} of ${conversation.id}`,
    });
  } catch (error) {
    const outcome = cancelled.signal.aborted ? "cancelled" : "failed";
    tell({ type: "result", turn, outcome, text: outcome === "failed" ? error.message : "" });
  }
}

async function obey(line) {
  const [, verb, rest = ""] = /^(\S+)\s*(.*)$/s.exec(line);
  const [, path, content = ""] = /^(\S*)\s*(.*)$/s.exec(rest);
  switch (verb) {
    case "say":
      return tell({ type: "text", text: rest });
    case "think":
      return tell({ type: "reasoning", text: rest });
    case "recall":
      return tell({ type: "text", text: conversation.turns.join("\n") });
    case "wait":
      return await new Promise((resolve) => {
        const timer = setTimeout(resolve, Number(rest));
        cancelled.signal.addEventListener("abort", () => resolve(clearTimeout(timer)), { once: true });
      });
    case "write":
      return await tool("write", { path }, () => {
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, `${content}\n`);
      });
    case "append":
      return await tool("append", { path }, () => appendFileSync(path, `${content}\n`));
    case "delete":
      return await tool("delete", { path }, () => rmSync(path));
    case "move":
      return await tool("move", { from: path, to: content }, () => renameSync(path, content));
    case "run":
      return await tool("run", { command: rest }, () => run("sh", ["-c", rest]));
    case "commit":
      return await tool("commit", { message: rest }, async () => {
        await run("git", ["add", "--all"]);
        return await run("git", ["commit", "--quiet", "--message", rest]);
      });
    default:
      throw new Error(`I do not know how to ${verb}`);
  }
}

async function tool(name, input, use) {
  const id = `tool-${++tools}`;
  tell({ type: "tool_call", id, name, input });
  try {
    const output = (await use()) ?? "";
    tell({ type: "tool_update", id, status: "completed", output });
  } catch (error) {
    tell({ type: "tool_update", id, status: "failed", output: error.message });
    throw error;
  }
}

function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], signal: cancelled.signal });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += text));
    child.once("error", reject);
    child.once("close", (status) => (status === 0 ? resolve(output) : reject(new Error(output || `status ${status}`))));
  });
}

function read(id) {
  try {
    return JSON.parse(readFileSync(fileOf(id), "utf8"));
  } catch {
    return undefined;
  }
}

/** Whole or not at all: the agent may be killed at any moment. */
function save() {
  mkdirSync(home, { recursive: true });
  const path = fileOf(conversation.id);
  writeFileSync(`${path}.new`, JSON.stringify(conversation));
  renameSync(`${path}.new`, path);
}

function fileOf(id) {
  return join(home, `${encodeURIComponent(id)}.json`);
}
