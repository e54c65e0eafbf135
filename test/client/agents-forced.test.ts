/** An agent that is forced to end ends, whatever it answers. */
import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { AgentProcess } from "../../src/client/agent-process.js";

/** Answers the signal that is to end it, and goes on. */
const stubborn = `
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => console.log("cancelled"));
  setInterval(() => undefined, 1_000);
  console.log("ready");`;

test("E5 an agent that answers SIGTERM with a result and stays is ended all the same", async () => {
  let ready = () => {};
  const isReady = new Promise<void>((resolve) => {
    ready = resolve;
  });
  let answer = () => {};
  const answered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  let forced = 0;
  const agent = new AgentProcess({
    ...{ command: process.execPath, args: ["-e", stubborn], directory: tmpdir(), environment: {} },
    mostLineBytes: 1_000,
    onLine: (line) => (line === "ready" ? ready() : answer()),
    onTooLong: () => undefined,
    onClosed: () => undefined,
  });
  try {
    await isReady;
    const limits = { cancelMs: 50, interruptMs: 50, terminateMs: 1_000 };
    await agent.insist(answered, limits, () => forced++);
    await answered;
    expect(forced).toBeGreaterThan(0);
    expect(
      await Promise.race([agent.ended, new Promise((resolve) => setTimeout(resolve, 5_000, "lives"))]),
    ).toMatchObject({
      signal: "SIGKILL",
    });
  } finally {
    await agent.kill();
  }
});
