/** An agent's process: what it says becomes events, and whatever it does, its turns end and nothing of it stays. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import {
  type AgentEvent,
  AgentState,
  type Client,
  connect,
  type Lease,
  ProcessBackend,
  type ProcessBackendOptions,
  type Session,
} from "../../src/client/index.js";
import { isRunning } from "../support/processes.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until, untilStill } from "../support/until.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let lease: Lease;
let session: Session;
let events: AgentEvent[];
let backends: ProcessBackend[];

beforeAll(async () => {
  server = await servers.start();
  client = connect({ address: server.address });
  servers.atEnd(() => client.close());
  const { url } = await Upstream.make(await servers.directory(), "demo");
  await server.client.admin.registerRepository({ repository: { name: "demo", url } });
});

beforeEach(async () => {
  lease = await client.acquire({ repository: "demo", ttlMs: 10_000, waitMs: 30_000 });
  session = await client.openSession(lease);
  events = [];
  backends = [];
});

afterEach(async () => {
  for (const backend of backends) await backend.dispose();
  await lease.release().catch(() => undefined);
});

const quick = { cancelMs: 300, interruptMs: 300, graceMs: 500, terminateMs: 300 };

async function start(beginning = "ready", options: Partial<ProcessBackendOptions> = {}): Promise<ProcessBackend> {
  const id = `odd-${session.sessionId}`;
  const backend = await ProcessBackend.start({
    ...{ session, agent: "ada", backend: "odd", command: process.execPath, onEvent: (event) => events.push(event) },
    args: [resolve("test/support/odd-agent.mjs"), beginning, id],
    ...options,
    limits: { ...quick, ...options.limits },
  });
  backends.push(backend);
  return backend;
}

const all = async (turn: AsyncIterable<AgentEvent>) => {
  const told: AgentEvent[] = [];
  for await (const event of turn) told.push(event);
  return told;
};
const bodies = (told: readonly AgentEvent[]) =>
  told.map(({ sessionId: _, agent: __, turn: ___, time: ____, ...body }) => body);
const errors = () => events.flatMap((event) => (event.type === "error" ? [`${event.code} ${event.message}`] : []));
const stored = async (agent = "ada") => (await session.refresh()).agents.find((one) => one.agent === agent);
const whenStored = (state: AgentState) =>
  until(`the agent is ${AgentState[state]}`, async () => {
    const agent = await stored();
    return agent?.state === state && agent;
  });

test("E4 every message becomes one event of the union, in order, and the result comes last", async () => {
  const backend = await start();
  const told = await all(backend.turn("everything"));
  expect(bodies(told)).toEqual([
    { type: "status", state: "RUNNING", detail: "" },
    { type: "text", text: "a" },
    { type: "reasoning", text: "b" },
    { type: "toolCall", id: "t1", name: "read", input: { path: "x", lines: [1, 2] } },
    { type: "toolUpdate", id: "t1", status: "completed", output: "c" },
    {
      type: "commands",
      commands: [
        { name: "help", description: "helps" },
        { name: "go", description: "" },
      ],
    },
    { type: "status", state: "RUNNING", detail: "thinking" },
    { type: "error", code: "AGENT", message: "a little problem", fatal: false },
    { type: "turnResult", outcome: "completed", text: "d", usage: { tokens: 12 } },
  ]);
  expect(told[0]).toMatchObject({ sessionId: session.sessionId, agent: "ada", turn: 1 });
  expect(JSON.parse(JSON.stringify(told))).toEqual(told);
  expect(await backend.turn("again").done()).toEqual({ type: "turnResult", outcome: "completed", text: "again" });
});

test("E2 E5 the id is stored as soon as it is known, and states follow; the process gets no token", async () => {
  const author = { name: "Ada", email: "ada@example.com" };
  process.env.LEASEHOLD_TOKEN = "secret-of-the-runner";
  const backend = await start("ready", { author, environment: { OWN: "1" } });
  delete process.env.LEASEHOLD_TOKEN;
  const id = `odd-${session.sessionId}`;
  expect(await whenStored(AgentState.IDLE)).toMatchObject({
    backend: "odd",
    backendSessionId: id,
    boundPath: lease.path,
  });
  expect(backend.health()).toMatchObject({ alive: true, state: "IDLE", backendSessionId: id, turn: 0, problem: "" });
  const turn = backend.turn("cancellable");
  await whenStored(AgentState.RUNNING);
  expect(() => backend.turn("another")).toThrow("turn 1");
  await turn.cancel();
  await whenStored(AgentState.IDLE);
  const told = (await all(backend.turn("environment"))).find(({ type }) => type === "text") as { text: string };
  const { cwd, ...environment } = JSON.parse(told.text) as Record<string, string>;
  expect(cwd).toBe(lease.path);
  expect(environment).toMatchObject({ OWN: "1", GIT_AUTHOR_NAME: "Ada", LEASEHOLD_SESSION_ID: session.sessionId });
  expect(JSON.stringify(environment)).not.toContain("secret-of-the-runner");
  expect(JSON.stringify(environment)).not.toContain(lease.token);
  await backend.dispose();
  expect(await whenStored(AgentState.STOPPED)).toMatchObject({ backendSessionId: id });
  expect(() => backend.turn("late")).toThrow("ended");
});

test("E2 an agent that tells its id late is STARTING until then", async () => {
  const backend = await start("late");
  expect(backend.health()).toMatchObject({ alive: true, backendSessionId: undefined });
  await backend.turn("hello").done();
  expect(await stored()).toMatchObject({ state: AgentState.STARTING, backendSessionId: "" });
  await backend.turn("session told-late").done();
  expect(await whenStored(AgentState.IDLE)).toMatchObject({ backendSessionId: "told-late" });
});

test("D2 the next backend goes on with the conversation; one that was forgotten is begun anew and said so", async () => {
  const first = await start();
  expect(first.resume).toEqual({ asked: false, blocker: "NEVER_STARTED" });
  await first.dispose();
  const second = await start();
  expect(second.resume.asked).toBe(true);
  const id = `odd-${session.sessionId}`;
  await until("it resumed", () =>
    events.some((event) => event.type === "status" && event.detail === `resume ${id}, blocker null`),
  );
  // a process that is gone without a word is succeeded, too
  process.kill(-(second.pid ?? 0), "SIGKILL");
  await until("it ended", () => !second.health().alive);
  await second.dispose();
  const third = await start("forgets");
  expect(third.health().backendSessionId).toBe(`${id}-new`);
  expect(errors().join()).toContain(`RESUME_REFUSED the agent does not know its conversation ${id}`);
  expect(await whenStored(AgentState.IDLE)).toMatchObject({ backendSessionId: `${id}-new` });
});

test("D2 an agent whose files were cleaned begins anew, and says so", async () => {
  const bound = async () => {
    const held = await client.acquire({ repository: "demo", binding: "cleaned", ttlMs: 10_000, waitMs: 30_000 });
    session = await client.openSession(held);
    return held;
  };
  const first = await bound();
  await (await start()).dispose();
  const { sessionId } = session;
  await first.release({ waitForClean: true });
  const second = await bound();
  expect([session.sessionId, session.reopened]).toEqual([sessionId, true]);
  const anew = await start();
  expect(anew.resume).toEqual({ asked: false, blocker: "PATH_CHANGED" });
  const details = events.flatMap((event) => (event.type === "status" ? [event.detail] : []));
  expect(details).toContain("begins anew: PATH_CHANGED");
  expect(details).toContain("resume null, blocker PATH_CHANGED");
  await anew.dispose();
  await second.release();
});

test("E2 another agent's conversation is refused by the server, and its process ended", async () => {
  await start();
  await whenStored(AgentState.IDLE);
  const thief = await start("ready", { agent: "bob" });
  await until("bob ended", () => !thief.health().alive);
  expect(errors().join()).toContain("BACKEND_SESSION_IN_USE");
  await until("bob failed", async () => (await stored("bob"))?.state === AgentState.FAILED);
  expect(backends[0]?.health().alive).toBe(true);
});

test("E4 garbage and lines that are too long are told as errors, and the turn goes on", async () => {
  const backend = await start("ready", { limits: { lineBytes: 64 * 1024 } });
  expect((await backend.turn("garbage").done()).outcome).toBe("completed");
  const codes = errors().map((error) => error.split(" ")[0]);
  expect(codes).toEqual(["LINE_INVALID", "LINE_INVALID", "LINE_INVALID", "LINE_INVALID", "LINE_INVALID"]);
  events.length = 0;
  expect((await backend.turn("huge 70000").done()).outcome).toBe("completed");
  expect(errors()).toEqual(["LINE_TOO_LONG a line of more than 65536 bytes was left out"]);
  const told = await all(backend.turn("huge 60000"));
  expect(told.find(({ type }) => type === "text")).toMatchObject({ text: "x".repeat(60_000) });
});

test("E4 a slow reader slows the agent down, and loses nothing", async () => {
  const backend = await start("ready", { limits: { queuedEvents: 50 } });
  const count = 20_000;
  const turn = backend.turn(`flood ${count}`);
  const flooded = () => Number(readFileSync(join(lease.path, "flood.txt"), { encoding: "utf8", flag: "a+" }) || "0");
  // the pipe is full, and stays so while nobody reads
  await until("the flood begins", () => flooded() > 0);
  const stuck = await untilStill("the agent waits", flooded);
  expect(stuck).toBeLessThan(count / 2);
  const texts = (await all(turn)).flatMap((event) => (event.type === "text" ? [event.text.split(" ")[0]] : []));
  expect(texts).toEqual(Array.from({ length: count }, (_, index) => String(index)));
});

test("E4 an exit in the middle of a turn, and a closed output, end the turn as failed and the agent as FAILED", async () => {
  const exiting = await start();
  const result = await exiting.turn("exit 3").done();
  expect(result).toMatchObject({
    outcome: "failed",
    text: "the agent's process ended with status 3 in the middle of turn 1",
  });
  expect(errors()).toEqual([`EXITED ${result.text}: it broke`]);
  // what the process wrote to standard error may hold anything: it is not stored
  expect(await whenStored(AgentState.FAILED)).toMatchObject({ problem: result.text });
  events.length = 0;
  const closing = await start();
  expect(await closing.turn("close").done()).toMatchObject({ outcome: "failed" });
  expect(errors()).toEqual(["STDOUT_CLOSED the agent closed its output and went on"]);
  await whenStored(AgentState.FAILED);
});

test("E5 what does not start says why: no such program, no word in time, an exit", async () => {
  const missing = start("ready", { command: "/nonexistent/agent" });
  await expect(missing).rejects.toThrow(/did not start: .*could not be started: .*ENOENT/);
  await expect(start("ready", { args: ["x".repeat(3_000_000)] })).rejects.toThrow("E2BIG");
  expect(await stored()).toMatchObject({ state: AgentState.FAILED, problem: expect.stringContaining("E2BIG") });
  await expect(start("silent", { limits: { readyMs: 300 } })).rejects.toThrow("not ready within 300 ms");
  await expect(start("exits")).rejects.toThrow("ended with status 7");
  expect(errors().at(-1)).toContain("no licence");
  expect(await whenStored(AgentState.FAILED)).toMatchObject({ problem: expect.stringContaining("status 7") });
});

test("E5 a turn is cancelled by a word, or else by signals; leaving the loop cancels it, too", async () => {
  const backend = await start();
  for await (const event of backend.turn("cancellable")) if (event.type === "text") break;
  expect(backend.health()).toMatchObject({ alive: true, state: "IDLE" });
  const abort = new AbortController();
  const turn = backend.turn("hang", { signal: abort.signal });
  abort.abort();
  // SIGINT ends this one, and its process with it
  expect(await turn.done()).toMatchObject({ outcome: "cancelled" });
  expect(await whenStored(AgentState.STOPPED)).toMatchObject({ problem: "" });
  const deaf = await start("deaf");
  const pid = deaf.pid ?? 0;
  await deaf.turn("hang").cancel();
  await deaf.dispose();
  expect(isRunning(pid)).toBe(false);
  expect(deaf.health()).toMatchObject({ alive: false, state: "STOPPED" });
});

const pidsOf = async (backend: ProcessBackend) => {
  const told = (await all(backend.turn("children"))).find(({ type }) => type === "text") as { text: string };
  const pids = JSON.parse(told.text) as number[];
  expect(pids.map(isRunning)).toEqual([true, true, true]);
  return pids;
};

test("E5 disposing ends the whole process group, grandchildren too, of an agent that does not listen as well", async () => {
  for (const beginning of ["ready", "deaf"]) {
    const backend = await start(beginning);
    const pids = await pidsOf(backend);
    const twice = [backend.dispose(), backend.dispose()];
    await Promise.all(twice);
    expect(pids.map(isRunning)).toEqual([false, false, false]);
  }
  const leaving = await start();
  const pids = await pidsOf(leaving);
  await leaving.turn("exit 0").done();
  await until("its children are gone", () => !pids.some(isRunning));
});

test("E5 an agent is killed when its lease is lost", async () => {
  const backend = await start();
  const pids = await pidsOf(backend);
  const turn = backend.turn("hang");
  await server.client.workspaces.reclaim({ leaseIds: [lease.leaseId] });
  await lease.heartbeat().catch(() => undefined);
  await until("the lease is lost here, too", () => lease.signal.aborted, 30_000);
  expect(await turn.done()).toMatchObject({ outcome: "failed", text: "the lease is lost" });
  await until("all of it is gone", () => !pids.some(isRunning));
  expect(errors().some((error) => error.startsWith("LEASE_LOST"))).toBe(true);
});
