/** What operators are told of a repository's forge, and of the bytes that a removal frees. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { WorkspaceAction } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { leasehold } from "../support/command-line.js";
import { useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();

it("A6 D5 Reclaim tells what a removal frees, as it was measured, and a repository its forge", async () => {
  const root = await servers.directory();
  const config = join(root, "leasehold.yaml");
  writeFileSync(config, "forges: [{ name: ours, kind: forgejo, url: 'https://127.0.0.1:1/' }]\n");
  const server = await servers.start({ flags: ["--config", config] });
  const { client } = server;
  const url = "https://127.0.0.1:1/acme/widget.git";
  const { repository } = await client.admin.registerRepository({ repository: { name: "theirs", url } });
  expect(repository).toMatchObject({ name: "theirs", forge: "ours" });
  const local = await Upstream.make(root, "demo");
  await client.admin.registerRepository({ repository: { name: "demo", url: local.url } });
  const { repositories } = await client.admin.listRepositories({});
  expect(repositories.map(({ name, forge }) => [name, forge])).toEqual([
    ["demo", ""],
    ["theirs", "ours"],
  ]);

  const held = await client.acquire({ repository: "demo" });
  const size = await until("it was measured", async () => {
    const { sizeBytes } = await client.get(held.workspaceId);
    return sizeBytes > 0n && sizeBytes;
  });
  const live = await client.workspaces.reclaim({ workspaceIds: [held.workspaceId] });
  expect(live.results).toMatchObject([{ action: WorkspaceAction.NONE, reason: "LEASE_LIVE", freedBytes: 0n }]);
  await client.release({ ...held });
  await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
  const dry = await client.workspaces.reclaim({ workspaceIds: [held.workspaceId], dryRun: true });
  expect(dry.results[0]).toMatchObject({ action: WorkspaceAction.REMOVED, reason: "" });
  expect(dry.results[0]?.freedBytes).toBeGreaterThan(size / 2n);
  const told = await leasehold(server.address, ["reclaim", "--workspace", held.workspaceId]);
  expect(told.stdout).toMatch(/REMOVED.* [1-9][\d.]* [KM]iB/);
});
