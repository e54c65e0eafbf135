/** A host that was removed while its server was only away: what its workspaces hold is not lost. */
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Disposition } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();

it("G2 G10 a removed host's server comes back as a new host, leaves what was unsaved alone, and the sweep saves it later", async () => {
  const databaseUrl = await servers.database();
  const sql = servers.sql(databaseUrl);
  const { url } = await Upstream.make(await servers.directory(), "kept");
  const away = await servers.start({ databaseUrl, host: "away" });
  const stays = await servers.start({ databaseUrl, host: "stays" });
  await away.client.admin.registerRepository({ repository: { name: "kept", url } });
  const held = await away.client.acquire({ repository: "kept", binding: "desk" });
  await writeFile(join(held.path, "notes.txt"), "mine\n");
  await away.client.release(held, { disposition: Disposition.PARK });

  away.signal("SIGSTOP");
  try {
    const remove = () => stays.client.admin.removeHost({ name: "away" });
    await until(
      "it counts as away",
      () =>
        remove().then(
          () => true,
          () => false,
        ),
      20_000,
    );
    expect((await stays.client.admin.listHosts({})).hosts.map(({ name }) => name)).toEqual(["stays"]);
  } finally {
    away.signal("SIGCONT");
  }
  await until("it is back, and listed", async () => {
    const { hosts } = await stays.client.admin.listHosts({});
    return hosts.some(({ name, owned }) => name === "away" && owned);
  });
  expect(await git(held.path, "status", "--porcelain")).toBe("?? notes.txt");
  // it serves, with a mirror of its own made anew
  const other = await away.client.acquire({ repository: "kept" });
  expect(other.answer.lease?.host).toBe("away");
  await away.client.releaseAndClean(other);
  await away.client.admin.sweep({});
  expect(existsSync(join(held.path, "notes.txt"))).toBe(true);

  // as much later as events are kept
  await sql`delete from leases where workspace_id = ${held.workspaceId.slice(1)}`;
  await sql`delete from workspaces where id = ${held.workspaceId.slice(1)}`;
  await away.client.admin.sweep({});
  const salvage = await until("it is salvaged", async () => {
    const { salvages } = await away.client.admin.listSalvages({ workspaceId: held.workspaceId });
    return salvages[0];
  });
  expect(await git(salvage.repositoryPath, "show", `${salvage.ref}:notes.txt`)).toBe("mine");
  await until("its directory is gone", () => !existsSync(held.path));
}, 90_000);
