/** Many callers at once: never two holders, one lease for one request, a fair line, and fetches that are shared. */
import { randomUUID } from "node:crypto";
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { LeaseEndReason } from "../../gen/leasehold/v1/lease_pb.js";
import { type GitHttp, serveGit } from "../support/git-http.js";
import { Client, type Held, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let databaseUrl: string;
let root: string;
let web: GitHttp;

beforeAll(async () => {
  root = await servers.directory();
  web = await serveGit(root);
  servers.atEnd(() => web.close());
  databaseUrl = await servers.database();
  server = await servers.start({ databaseUrl });
  client = server.client;
});

async function register(name: string, maxWorkspaces: number): Promise<Upstream> {
  const upstream = await Upstream.make(root, name);
  await client.admin.registerRepository({ repository: { name, url: upstream.url, maxWorkspaces } });
  return upstream;
}

/** A client of its own, so with a connection of its own. */
function another(of: ServerProcess = server): Client {
  const made = new Client(() => of.address);
  servers.atEnd(() => made.close());
  return made;
}

const waiting = async (repository: string, count: number) => {
  const sql = servers.sql(databaseUrl);
  await until(`${count} wait for ${repository}`, async () => {
    const [row] = await sql<{ n: number }[]>`
      select count(*)::int as n from tickets t join repositories r on r.id = t.repository_id
       where r.name = ${repository} and t.state = 'WAITING' and t.server_id is not null`;
    return row?.n === count;
  });
};

describe("one holder", () => {
  it("G4 B2 100 callers at once on 10 workspaces: never two holders, told by the files that they write", async () => {
    await register("shared", 10);
    const clients = [1, 2, 3, 4].map(() => another());
    const paths = new Set<string>();
    const one = async (number: number) => {
      const own = clients[number % clients.length] as Client;
      const held = await own.acquire({ repository: "shared", holder: `holder ${number}`, waitMs: 50_000 });
      expect(paths).not.toContain(held.path);
      paths.add(held.path);
      const mark = `holder-${number}.mark`;
      await writeFile(join(held.path, "holder.mark"), mark, { flag: "wx" });
      await writeFile(join(held.path, mark), mark, { flag: "wx" });
      await own.heartbeat(held);
      const marks = (await readdir(held.path)).filter((name) => name.endsWith(".mark")).sort();
      expect(marks).toEqual([mark, "holder.mark"].sort());
      await own.release(held);
      return held;
    };
    const all = await Promise.all(Array.from({ length: 100 }, (_, number) => one(number)));
    expect(new Set(all.map(({ leaseId }) => leaseId)).size).toBe(100);
    expect(new Set(all.map(({ workspaceId }) => workspaceId)).size).toBeLessThanOrEqual(10);
    // the log tells the same: a workspace's leases follow one another
    const live = new Map<string, string>();
    for (const event of await client.events(1n, { repository: "shared" })) {
      if (event.kind === EventKind.LEASE_ACQUIRED) {
        expect(live.get(event.workspaceId)).toBeUndefined();
        live.set(event.workspaceId, event.leaseId);
      } else if (event.kind === EventKind.LEASE_ENDED) {
        expect(live.get(event.workspaceId)).toBe(event.leaseId);
        live.delete(event.workspaceId);
      }
    }
    expect(live.size).toBe(0);
  }, 60_000);

  it("G3 the same request id 50 times at once gets one lease and one token", async () => {
    await register("once", 10);
    const requestId = randomUUID();
    const clients = [1, 2, 3, 4, 5].map(() => another());
    const calls = Array.from({ length: 50 }, (_, n) =>
      (clients[n % clients.length] as Client).acquire({ repository: "once", requestId }),
    );
    const all = await Promise.all(calls);
    expect(new Set(all.map(({ leaseToken }) => leaseToken)).size).toBe(1);
    expect(new Set(all.map(({ path }) => path)).size).toBe(1);
    const events = await client.events(1n, { repository: "once", kinds: [EventKind.LEASE_ACQUIRED] });
    expect(events).toHaveLength(1);
    const [held] = all as [Held];
    await client.heartbeat(held);
    await client.release(held);
  });

  it("G3 a replay that is broken off does not end the lease that an earlier answer gave", async () => {
    await register("replayed", 2);
    const requestId = randomUUID();
    const held = await client.acquire({ repository: "replayed", requestId });
    for (let round = 0; round < 20; round++) {
      const hasty = another();
      const call = hasty.acquire({ repository: "replayed", requestId });
      call.catch(() => {});
      // broken off at another moment each time, some of them between commit and answer
      await new Promise((resolve) => setTimeout(resolve, round));
      hasty.close();
    }
    await client.heartbeat(held);
    await client.release(held);
  });

  it("G3 a call that is broken off before its answer is answered by its replay", async () => {
    await register("broken", 1);
    for (let round = 0; round < 12; round++) {
      const requestId = randomUUID();
      const hasty = another();
      hasty.acquire({ repository: "broken", requestId, waitMs: 20_000 }).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 4 * round));
      hasty.close();
      const held = await client.acquire({ repository: "broken", requestId, waitMs: 20_000 });
      await client.heartbeat(held);
      await client.release(held);
    }
  });

  it("G3 of several callers with one request id, some may go without taking the lease from the others", async () => {
    await register("joined", 1);
    const blocker = await client.acquire({ repository: "joined" });
    const requestId = randomUUID();
    const leavers = [1, 2, 3].map(() => another());
    const calls = leavers.map((own) => own.acquire({ repository: "joined", requestId, waitMs: 20_000 }));
    for (const call of calls) call.catch(() => {});
    const stays = another().acquire({ repository: "joined", requestId, waitMs: 20_000 });
    await waiting("joined", 1);
    leavers[0]?.close();
    await client.release(blocker);
    leavers[1]?.close();
    const held = await stays;
    leavers[2]?.close();
    await client.heartbeat(held);
    await client.release(held);
  });
});

describe("the line", () => {
  it("G6 places are by arrival, over two servers on one database", async () => {
    const second = await servers.start({ databaseUrl, host: "second-host" });
    await register("line", 1);
    const blocker = await client.acquire({ repository: "line" });
    const order: number[] = [];
    const calls: Promise<void>[] = [];
    for (let place = 1; place <= 8; place++) {
      const own = another(place % 2 === 0 ? second : server);
      const call = own.acquire({ repository: "line", host: server.host, waitMs: 30_000 }).then(async (held) => {
        expect(held.answer.lease?.host).toBe(server.host);
        order.push(place);
        await own.release(held);
      });
      calls.push(call);
      await waiting("line", place);
    }
    await client.release(blocker);
    await Promise.all(calls);
    expect(order).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    await second.stop();
  });

  it("G6 a wait that runs out is POOL_EXHAUSTED with the position, and the place is gone", async () => {
    await register("exhausted", 1);
    const held = await client.acquire({ repository: "exhausted" });
    const first = client.acquire({ repository: "exhausted", waitMs: 30_000 });
    await waiting("exhausted", 1);
    const refused = await refusal(client.acquire({ repository: "exhausted", waitMs: 300 }));
    expect(refused).toMatchObject({
      code: Code.ResourceExhausted,
      reason: "POOL_EXHAUSTED",
      metadata: { position: "2" },
    });
    expect(refused.retryMs).toBeGreaterThan(0);
    await waiting("exhausted", 1);
    await client.release(held);
    await client.release(await first);
  });

  it("G6 a wait longer than the call's own deadline still ends as POOL_EXHAUSTED, before it", async () => {
    await register("deadline", 1);
    const held = await client.acquire({ repository: "deadline" });
    const call = client.acquire({ repository: "deadline", waitMs: 60_000 }, undefined, 3_000);
    expect(await refusal(call)).toMatchObject({ reason: "POOL_EXHAUSTED", metadata: { position: "1" } });
    await client.release(held);
  });

  it("G3 a caller that goes while it waits, or while its mirror is fetched, leaves no lease behind", async () => {
    await Upstream.make(root, "left");
    await client.admin.registerRepository({ repository: { name: "left", url: web.url("left"), maxWorkspaces: 1 } });
    const blocker = await client.acquire({ repository: "left" });
    const waits = new AbortController();
    const waited = client.acquire({ repository: "left", waitMs: 30_000 }, waits.signal);
    await waiting("left", 1);
    waits.abort();
    expect(await refusal(waited)).toMatchObject({ code: Code.Canceled });
    await client.release(blocker);
    const asked = web.asked("left");
    web.hold();
    const fetches = another();
    const fetched = fetches.acquire({ repository: "left", waitMs: 30_000 });
    fetched.catch(() => {});
    await until("the upstream is asked", () => web.asked("left") > asked);
    fetches.close();
    const held = client.acquire({ repository: "left", waitMs: 20_000 });
    web.release();
    await client.release(await held);
    const events = await client.events(1n, { repository: "left", kinds: [EventKind.LEASE_ACQUIRED] });
    expect(events.map(({ leaseId }) => leaseId)).toEqual([blocker.leaseId, (await held).leaseId]);
  });

  it("G3 a caller that goes at the moment of the commit leaves no lease behind", async () => {
    await register("late", 1);
    const sql = servers.sql(databaseUrl);
    const stopper = servers.sql(databaseUrl, 1);
    const blocked = (count: number) =>
      until(`${count} statements wait`, async () => {
        const [row] = await sql<{ n: number }[]>`
          select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
        return (row?.n ?? 0) >= count;
      });
    // the lease is about to be written, and the caller goes before it is
    await stopper.unsafe("begin; lock table leases in share mode");
    const gone = new AbortController();
    const call = client.acquire({ repository: "late" }, gone.signal);
    await blocked(1);
    gone.abort();
    expect(await refusal(call)).toMatchObject({ code: Code.Canceled });
    await blocked(2);
    await stopper.unsafe("commit");
    const [end] = await until("the lease was born and has ended", async () => {
      const events = await client.events(1n, { repository: "late", kinds: [EventKind.LEASE_ENDED] });
      return events.length > 0 && events;
    });
    expect(end).toMatchObject({ reason: LeaseEndReason.RELEASED });
    await client.release(await client.acquire({ repository: "late", waitMs: 10_000 }));
  });
});

it("A2 64 Acquires at once ask the upstream at most twice, and get what it had", async () => {
  const upstream = await Upstream.make(root, "fetched");
  const url = web.url("fetched");
  await client.admin.registerRepository({ repository: { name: "fetched", url, maxWorkspaces: 64 } });
  await client.release(await client.acquire({ repository: "fetched" }));
  const commit = await upstream.commit({ "new.txt": "new\n" });
  const before = web.asked("fetched");
  const clients = [1, 2, 3, 4].map(() => another());
  const all = await Promise.all(
    Array.from({ length: 64 }, (_, n) =>
      (clients[n % clients.length] as Client).acquire({ repository: url, waitMs: 30_000 }),
    ),
  );
  const asked = web.asked("fetched") - before;
  expect(asked).toBeGreaterThanOrEqual(1);
  expect(asked).toBeLessThanOrEqual(2);
  expect(new Set(all.map(({ answer }) => answer.resolvedCommit))).toEqual(new Set([commit]));
  expect(new Set(all.map(({ path }) => path)).size).toBe(64);
  await Promise.all(all.map((held) => client.release(held)));
  await rm(join(root, "fetched.work"), { recursive: true });
}, 60_000);
