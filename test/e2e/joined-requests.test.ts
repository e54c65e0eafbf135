/** One request at two hosts of one database, as a load balancer brings it about. */
import { beforeAll, expect, it } from "vitest";
import { type GitHttp, serveGit } from "../support/git-http.js";
import { expectSoundDisk, expectSoundStore, settled } from "../support/invariants.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let databaseUrl: string;
let east: ServerProcess;
let west: ServerProcess;
let web: GitHttp;

beforeAll(async () => {
  const root = await servers.directory();
  web = await serveGit(root);
  servers.atEnd(() => web.close());
  databaseUrl = await servers.database();
  const started = await Promise.all(["east", "west"].map((host) => servers.start({ databaseUrl, host })));
  [east, west] = started as [ServerProcess, ServerProcess];
  await Upstream.make(root, "joined");
  await east.client.admin.registerRepository({ repository: { name: "joined", url: web.url("joined") } });
}, 60_000);

it("G10 G3 a request that is sent again to another host is served by the first one's, where its files are", async () => {
  // each host has its mirror, and no workspace yet
  for (const { client } of [east, west]) await client.admin.refreshMirror({ repository: "joined" });
  const ask = { repository: "joined", requestId: "r", waitMs: 40_000 };
  const asked = web.asked("joined");
  web.hold();
  const first = east.client.acquire(ask);
  await until("the first host asks its upstream", () => web.asked("joined") > asked);
  // what asked may have been somebody else, and then the second host would be the first
  await until("the request is the first host's", async () => {
    const [row] = await servers.sql(databaseUrl)<{ n: number }[]>`
      select count(*)::int as n from tickets t join hosts h on h.id = t.host_id where t.request_id = 'r' and h.name = 'east'`;
    return row?.n === 1;
  });
  east.signal("SIGSTOP");
  try {
    web.release();
    const second = west.client.acquire(ask);
    await until("the second host has joined", async () => {
      const [row] = await servers.sql(databaseUrl)<{ n: number }[]>`
        select count(*)::int as n from tickets t join servers s on s.id = t.server_id join hosts h on h.id = s.host_id
         where t.request_id = 'r' and h.name = 'west'`;
      return row?.n === 1;
    });
    // it serves what is its own meanwhile
    for (const _ of [1, 2]) await west.client.release(await west.client.acquire({ repository: "joined" }));
    east.signal("SIGCONT");
    const [one, other] = await Promise.all([first, second]);
    expect(other.leaseToken).toBe(one.leaseToken);
    expect(other.answer.workspace).toMatchObject({ host: "east", path: expect.stringContaining(east.dataDir) });
    expect(await git(other.path, "status", "--porcelain")).toBe("");
    await west.client.releaseAndClean(other);
  } finally {
    east.signal("SIGCONT");
  }
  const sql = servers.sql(databaseUrl);
  for (const { dataDir } of [east, west]) await settled(sql, dataDir);
  await expectSoundStore(sql);
  for (const { dataDir, host } of [east, west]) await expectSoundDisk(sql, dataDir, host);
}, 60_000);
