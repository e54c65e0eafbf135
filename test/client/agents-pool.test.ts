/** A pool makes one backend for each agent of each session, and disposes of them whatever they do. */
import { expect, test } from "vitest";
import { type AgentBackend, AgentPool, type BackendHealth } from "../../src/client/index.js";

type Behaviour = Partial<Pick<AgentBackend, "dispose" | "health">>;

class Told implements AgentBackend {
  readonly sessionId: string;
  readonly agent: string;
  readonly #behaviour: Behaviour;
  alive = true;
  disposals = 0;

  constructor(sessionId: string, agent: string, behaviour: Behaviour = {}) {
    this.sessionId = sessionId;
    this.agent = agent;
    this.#behaviour = behaviour;
  }

  turn(): never {
    throw new Error("takes no turns");
  }

  subscribe(): () => void {
    return () => undefined;
  }

  health(): BackendHealth {
    if (this.#behaviour.health) return this.#behaviour.health();
    const { sessionId, agent, alive } = this;
    const nothing = { backendSessionId: undefined, turn: 0, heardTime: undefined, problem: "" };
    return { sessionId, agent, backend: "told", state: alive ? "IDLE" : "STOPPED", alive, ...nothing };
  }

  async dispose(): Promise<void> {
    this.disposals++;
    await this.#behaviour.dispose?.();
  }
}

const ada = { sessionId: "n1", agent: "ada" };

test("E5 twenty calls at once make one backend, and another agent or session gets its own", async () => {
  let made = 0;
  let go = () => {};
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  const pool = new AgentPool({
    create: async ({ sessionId, agent }) => {
      made++;
      await gate;
      return new Told(sessionId, agent);
    },
  });
  const calls = Array.from({ length: 20 }, () => pool.get(ada));
  expect(pool.health()).toMatchObject({ healthy: true, starting: [ada], backends: [] });
  go();
  expect(new Set(await Promise.all(calls)).size).toBe(1);
  expect(made).toBe(1);
  expect(await pool.get(ada)).toBe(pool.peek(ada));
  await Promise.all([pool.get({ sessionId: "n1", agent: "bob" }), pool.get({ sessionId: "n2", agent: "ada" })]);
  expect(made).toBe(3);
  expect(pool.health().backends.map(({ sessionId, agent }) => `${sessionId} ${agent}`)).toEqual([
    "n1 ada",
    "n1 bob",
    "n2 ada",
  ]);
});

test("E5 a creation that failed is told to all who waited for it, and forgotten", async () => {
  let attempts = 0;
  const pool = new AgentPool({
    create: async ({ sessionId, agent }) => {
      if (++attempts === 1) throw new Error("no such program");
      return new Told(sessionId, agent);
    },
  });
  const first = await Promise.allSettled([pool.get(ada), pool.get(ada)]);
  expect(first.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(attempts).toBe(1);
  expect((await pool.get(ada)).agent).toBe("ada");
});

test("E5 a backend that has ended is disposed of and made again, once; one that is removed is waited for", async () => {
  const made: Told[] = [];
  const order: string[] = [];
  const pool = new AgentPool({
    create: async ({ sessionId, agent }) => {
      order.push("made");
      const backend = new Told(sessionId, agent, {
        dispose: async () => {
          await new Promise((resolve) => setImmediate(resolve));
          order.push("disposed");
        },
      });
      made.push(backend);
      return backend;
    },
  });
  const first = (await pool.get(ada)) as Told;
  first.alive = false;
  expect(pool.health().healthy).toBe(false);
  const [second, third] = await Promise.all([pool.get(ada), pool.get(ada)]);
  expect(second).toBe(third);
  expect(made).toHaveLength(2);
  expect(first.disposals).toBe(1);
  const removing = pool.remove(ada);
  await pool.get(ada);
  await removing;
  expect(order).toEqual(["made", "disposed", "made", "disposed", "made"]);
});

test("E5 dispose tolerates backends that throw, hang, or are still being made, and says who did not follow", async () => {
  let born: (backend: AgentBackend) => void = () => {};
  const late = new Told("n1", "late");
  const behaviours: Record<string, Behaviour> = {
    throws: { dispose: () => Promise.reject(new Error("cannot")) },
    "throws at once": {
      dispose: () => {
        throw new Error("cannot either");
      },
    },
    hangs: { dispose: () => new Promise(() => undefined) },
    "is sick": {
      health: () => {
        throw new Error("no idea");
      },
    },
    "is good": {},
  };
  const pool = new AgentPool({
    disposeMs: 300,
    create: ({ sessionId, agent }) =>
      agent === "late"
        ? new Promise((resolve) => {
            born = resolve;
          })
        : Promise.resolve(new Told(sessionId, agent, behaviours[agent])),
  });
  for (const agent of Object.keys(behaviours)) await pool.get({ sessionId: "n1", agent });
  const unborn = pool.get({ sessionId: "n1", agent: "late" });
  const health = pool.health();
  expect(health.healthy).toBe(false);
  expect(health.backends.find(({ agent }) => agent === "is sick")).toMatchObject({ alive: false, problem: "no idea" });
  const begun = performance.now();
  const report = await pool.dispose();
  expect(performance.now() - begun).toBeLessThan(2_000);
  expect(report.disposed.map(({ agent }) => agent).sort()).toEqual(["is good", "is sick"]);
  const failed = Object.fromEntries(report.failed.map(({ agent, timedOut }) => [agent, timedOut]));
  expect(failed).toEqual({ throws: false, "throws at once": false, hangs: true, late: true });
  expect(await pool.dispose()).toBe(report);
  await expect(pool.get(ada)).rejects.toThrow("disposed");
  expect(pool.health()).toMatchObject({ healthy: false, disposed: true });
  born(late);
  await unborn;
  await new Promise((resolve) => setImmediate(resolve));
  expect(late.disposals).toBe(1);
});

test("E5 dispose waits for a backend that is being removed, and says how that ended", async () => {
  let end = () => {};
  const behaviours: Record<string, Behaviour> = {
    slow: {
      dispose: () =>
        new Promise((resolve) => {
          end = resolve;
        }),
    },
    hangs: { dispose: () => new Promise(() => undefined) },
  };
  const pool = new AgentPool({
    disposeMs: 300,
    create: async ({ sessionId, agent }) => new Told(sessionId, agent, behaviours[agent]),
  });
  const keys = Object.keys(behaviours).map((agent) => ({ sessionId: "n1", agent }));
  for (const key of keys) await pool.get(key);
  const removals = Promise.allSettled(keys.map((key) => pool.remove(key)));
  await new Promise((resolve) => setImmediate(resolve));
  const disposing = pool.dispose();
  expect(await Promise.race([disposing, new Promise((resolve) => setImmediate(resolve, "goes on"))])).toBe("goes on");
  end();
  const report = await disposing;
  expect(report.disposed.map(({ agent }) => agent)).toEqual(["slow"]);
  expect(report.failed).toMatchObject([{ agent: "hangs", timedOut: true }]);
  expect((await removals).map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
});
