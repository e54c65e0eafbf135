/** Agents come back to their directory and their conversations, whatever was killed, and what they changed is recorded once. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { AgentState } from "../../gen/leasehold/v1/session_pb.js";
import type { AgentRunner } from "../support/agent-runner.js";
import { useAgents } from "../support/agent-site.js";
import { isRunning } from "../support/processes.js";
import { until } from "../support/until.js";

const site = useAgents();

/** The process of an agent: the parent of a shell that it runs. */
async function pidOf(runner: AgentRunner, agent: string): Promise<number> {
  const from = runner.lines.length;
  await runner.turn(agent, "run echo $PPID");
  const told = runner.lines.slice(from).find((line) => line.agent === agent && line.type === "toolUpdate");
  return Number(told?.output);
}

it("D2 E1 E5 two agents share a session, server and runner are killed, and both come back to path and conversation", async () => {
  const { server, run, changesOf } = site();
  const first = run("issue-17");
  const { sessionId, path, conversations, reopened } = await first.when({ type: "ready" });
  expect(reopened).toBe(false);
  expect(new Set(Object.values(conversations)).size).toBe(2);
  await Promise.all([first.turn("ada", "write ada.txt one; run sleep 0.2"), first.turn("bob", "write bob.txt one")]);
  // the server goes and comes back, and neither runner nor agents notice more than a pause
  await server.kill9();
  await server.start();
  expect(await first.turn("ada", "append ada.txt two; commit Adas work")).toMatchObject({ outcome: "completed" });
  const pids = [await pidOf(first, "ada"), await pidOf(first, "bob")];
  expect(pids.map(isRunning)).toEqual([true, true]);
  // now everything is killed in the middle of a turn, without a word to anybody
  first.send("bob", "run echo $$ > .git/pid && exec sleep 600");
  const pidFile = join(path, ".git/pid");
  const child = await until("bob's command runs", () => existsSync(pidFile) && Number(readFileSync(pidFile, "utf8")));
  await server.kill9();
  await first.kill9();
  await until("no agent of a dead runner is left", () => ![...pids, child].some(isRunning));
  await server.start();
  const second = run("issue-17");
  const back = await second.when({ type: "ready" });
  expect(back).toMatchObject({ sessionId, path, conversations, reopened: true });
  const statuses = second.lines.filter(({ type, state: now }) => type === "status" && now === "IDLE");
  expect(statuses.map(({ agent, detail }) => [agent, detail])).toEqual(
    expect.arrayContaining([
      ["ada", "resumed"],
      ["bob", "resumed"],
    ]),
  );
  const from = second.lines.length;
  await second.turn("ada", "recall");
  const remembered = second.lines.slice(from).find((line) => line.type === "text")?.text;
  expect(remembered).toContain("append ada.txt two\ncommit Adas work");
  expect(remembered).not.toContain("bob.txt");
  await second.turn("bob", "run cat ada.txt bob.txt");
  expect(second.lines.at(-1)).toMatchObject({ outcome: "completed" });
  expect(await second.end()).toBe(0);
  const { session } = await server.client.sessions.getSession({ sessionId });
  expect(session?.agents).toMatchObject([
    { agent: "ada", state: AgentState.STOPPED, backendSessionId: conversations.ada },
    { agent: "bob", state: AgentState.STOPPED, backendSessionId: conversations.bob },
  ]);
  const commits = (await changesOf(sessionId)).filter(({ commit }) => commit !== "");
  expect(commits.map(({ agent, summary }) => [agent, summary])).toEqual([["ada", "Adas work"]]);
}, 120_000);
