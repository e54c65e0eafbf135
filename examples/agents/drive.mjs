#!/usr/bin/env node
// A runner: leases a workspace for a binding, opens its session, and gives turns to agents that share it.
//
//   node drive.mjs --repository demo --binding issue-17 --agent ada --agent bob
//
// Turns come on standard input, one a line: `ada: write notes.txt hello`. `;` separates an agent's commands. Everything that
// the agents tell goes to standard output as JSON lines, beginning with one that says where they work. At the end of the input,
// or at SIGINT or SIGTERM, the workspace is parked, and the same command line brings all of them back.
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { AgentPool, connect, ProcessBackend } from "leasehold/client";

const { values: options } = parseArgs({
  options: {
    address: { type: "string" },
    repository: { type: "string" },
    binding: { type: "string" },
    agent: { type: "string", multiple: true, default: ["ada"] },
    ttl: { type: "string", default: "60000" },
    grace: { type: "string", default: "0" },
  },
});
const { repository, binding, agent: agents } = options;
if (!repository || !binding) {
  console.error(
    "usage: node drive.mjs --repository NAME --binding KEY [--agent NAME]... [--ttl MS] [--grace MS] [--address ADDRESS]",
  );
  process.exit(64);
}

const tell = (value) => console.log(JSON.stringify(value));
const client = connect(options.address ? { address: options.address } : {});
const lease = await client.acquire({
  ...{ repository, binding, waitMs: 120_000 },
  ...{ ttlMs: Number(options.ttl), graceMs: Number(options.grace) },
});
const session = await client.openSession(lease);
const pool = new AgentPool({
  create: ({ agent }) =>
    ProcessBackend.start({
      session,
      agent,
      backend: "example",
      command: process.execPath,
      args: [fileURLToPath(new URL("agent.mjs", import.meta.url))],
      author: { name: agent, email: `${agent}@example.com` },
      onEvent: tell,
    }),
});

const { sessionId, path, reopened } = session;
for (const agent of agents) await pool.get({ sessionId, agent });
const health = pool.health().backends;
const conversations = Object.fromEntries(health.map(({ agent, backendSessionId }) => [agent, backendSessionId]));
tell({ type: "ready", sessionId, path, reopened, conversations });

const input = createInterface({ input: process.stdin });
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => input.close());
lease.signal.addEventListener("abort", () => input.close(), { once: true });

const turns = new Set();
for await (const line of input) {
  const [, agent, text] = /^([^:\s]+):\s*(.*)$/.exec(line) ?? [];
  if (!agents.includes(agent)) {
    console.error(`no turn: ${line}`);
    continue;
  }
  const turn = take(agent, text.replaceAll(/\s*;\s*/g, "\n")).catch((error) =>
    tell({ type: "failed", agent, message: error.message }),
  );
  turns.add(turn);
  void turn.then(() => turns.delete(turn));
}
await Promise.all(turns);
const report = await pool.dispose();
if (report.failed.length > 0) console.error("did not end:", report.failed);
if (!lease.signal.aborted) await lease.release({ disposition: "PARK" });
client.close();

async function take(agent, text) {
  const backend = await pool.get({ sessionId, agent });
  const result = await backend.turn(text).done();
  const { changes } = await session.scan({ agent });
  // another agent's scan may have been at it at the same time: then this one helped
  const own = changes.filter((change) => change.agent === agent);
  const paths = own.map((change) => change.path || change.commit);
  tell({ type: "recorded", agent, outcome: result.outcome, paths });
}
