/** Lists come in pages whose tokens belong to their filters. */
import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AdminService, ListHostsRequestSchema } from "../../gen/leasehold/v1/admin_service_pb.js";
import { ListActiveRequestSchema, WorkspaceService } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { decodePageToken, encodePageToken } from "../../src/rpc/limits/page-token.js";
import type { ListInput } from "../../src/service/services.js";
import { errorOf, wrongFields } from "./clients.js";
import { RunningServer } from "./running-server.js";

let running: RunningServer;
beforeAll(async () => {
  running = await RunningServer.start();
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
});
const client = () => createClient(WorkspaceService, createGrpcTransport({ baseUrl: running.url }));
const lastList = () => running.services.asked.at(-1)?.input as ListInput;

test("F1 every page tells the revision of the first, and the last has no token", async () => {
  const first = await client().listActive({ repository: "demo", labels: { a: "1", b: "2" } });
  expect(first).toMatchObject({ revision: 7n, storeId: "store" });
  const page = { repository: "demo", labels: { b: "2", a: "1" }, pageToken: first.nextPageToken, pageSize: 7 };
  const second = await client().listActive(page);
  expect(second).toMatchObject({ revision: 7n, nextPageToken: "" });
  expect(lastList()).toMatchObject({ after: "w17", pageSize: 7 });
});

test("F1 a token of other filters, of another list, changed, or made up is FIELD_INVALID on page_token", async () => {
  const { nextPageToken } = await client().listActive({ repository: "demo" });
  const hosts = encodePageToken(ListHostsRequestSchema, create(ListHostsRequestSchema), { after: "h", revision: 0n });
  const garbage = [`${nextPageToken.slice(0, -2)}!!`, "x", "AAAA", "a".repeat(5000), hosts, nextPageToken.slice(4)];
  const calls = [
    { repository: "other", pageToken: nextPageToken },
    ...garbage.map((pageToken) => ({ repository: "demo", pageToken })),
  ];
  for (const call of calls) expect(wrongFields(await errorOf(client().listActive(call)))).toEqual(["page_token"]);
});

test("F1 a token gives back what it was made of", () => {
  const request = create(ListActiveRequestSchema, { holder: "ü", states: [2] });
  const pageToken = encodePageToken(ListActiveRequestSchema, request, {
    after: "w12345678901234567",
    revision: 2n ** 50n,
  });
  expect(decodePageToken(ListActiveRequestSchema, { ...request, pageToken, pageSize: 5 })).toEqual({
    after: "w12345678901234567",
    revision: 2n ** 50n,
  });
});

test("F1 the page size is 100 by default and 1,000 at most", async () => {
  await client().listActive({});
  expect(lastList().pageSize).toBe(100);
  await client().listActive({ pageSize: 2_000_000 });
  expect(lastList()).toMatchObject({ pageSize: 1000, filter: { states: ["LEASED"] } });
});

test("F1 repositories and hosts are listed in one page where there are no more", async () => {
  const admin = createClient(AdminService, createGrpcTransport({ baseUrl: running.url }));
  const { repositories, nextPageToken } = await admin.listRepositories({});
  expect(repositories[0]).toMatchObject({ name: "demo", defaultBranch: "main", workspaces: { leased: 2 } });
  const hosts = await admin.listHosts({});
  expect([nextPageToken, hosts.nextPageToken, hosts.hosts[0]?.name]).toEqual(["", "", "here"]);
});
