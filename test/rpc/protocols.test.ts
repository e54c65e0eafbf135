/** Every protocol, on one port and on a unix socket, gets the same answers. */
import { connect as connectSocket } from "node:net";
import { create } from "@bufbuild/protobuf";
import { createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AdminService } from "../../gen/leasehold/v1/admin_service_pb.js";
import {
  AcquireRequestSchema,
  WorkspaceService,
  WorkspaceSource,
} from "../../gen/leasehold/v1/workspace_service_pb.js";
import { RunningServer } from "./running-server.js";

let running: RunningServer;
beforeAll(async () => {
  running = await RunningServer.start({ unixSocket: true });
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
});

const transports: Record<string, () => Transport> = {
  "grpc over HTTP/2": () => createGrpcTransport({ baseUrl: running.url }),
  "grpc-web over HTTP/1.1": () => createGrpcWebTransport({ baseUrl: running.url, httpVersion: "1.1" }),
  "grpc-web over HTTP/2": () => createGrpcWebTransport({ baseUrl: running.url, httpVersion: "2" }),
  "connect over HTTP/1.1": () => createConnectTransport({ baseUrl: running.url, httpVersion: "1.1" }),
  "connect over HTTP/2": () => createConnectTransport({ baseUrl: running.url, httpVersion: "2" }),
  "connect JSON over HTTP/1.1": () =>
    createConnectTransport({ baseUrl: running.url, httpVersion: "1.1", useBinaryFormat: false }),
  "connect GET over HTTP/1.1": () =>
    createConnectTransport({ baseUrl: running.url, httpVersion: "1.1", useHttpGet: true }),
  "grpc over a unix socket": () =>
    createGrpcTransport({
      baseUrl: "http://localhost",
      nodeOptions: { createConnection: () => connectSocket(running.socketPath) },
    }),
};

describe.each(Object.entries(transports))("%s", (_name, transport) => {
  test("F2 a unary call is answered whole", async () => {
    const client = createClient(WorkspaceService, transport());
    const answer = await client.acquire(create(AcquireRequestSchema, { repository: "demo", revision: "main" }));
    expect(answer.lease?.leaseId).toBe("w17.4");
    expect(answer.lease?.remaining).toMatchObject({ seconds: 59n, nanos: 999_500_000 });
    expect(answer.workspace).toMatchObject({ branch: "main", path: "/workspaces/demo/w17.4" });
    expect(answer.source).toBe(WorkspaceSource.WARM);
    expect(answer.elapsed).toBeDefined();
  });

  test("F2 a stream gives its first item at once and ends in order", async () => {
    const client = createClient(WorkspaceService, transport());
    const items = [];
    for await (const item of client.watch({ untilNow: true })) items.push(item.item.case);
    expect(items).toEqual(["snapshotEnd"]);
  });

  test("F2 a call without side effects is answered", async () => {
    const info = await createClient(AdminService, transport()).getServerInfo({});
    expect(info).toMatchObject({ host: "here", storeId: "store", newestRevision: 7n });
    expect(running.services.undelivered).toBe(0);
  });
});
