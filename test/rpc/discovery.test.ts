/** Health and reflection, as foreign clients use them. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { create, createFileRegistry, fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ServerReflectionRequest, ServerReflection as V1 } from "../../gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as V1Alpha } from "../../gen/grpc/reflection/v1alpha/reflection_pb.js";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../../gen/health/v1/health_pb.js";
import { until } from "../support/until.js";
import { callByGrpcJs, errorOf } from "./clients.js";
import { RunningServer } from "./running-server.js";

const run = promisify(execFile);
const services = ["leasehold.v1.AdminService", "leasehold.v1.SessionService", "leasehold.v1.WorkspaceService"];
let running: RunningServer;
let state = { ok: true, detail: "ready" };
beforeAll(async () => {
  running = await RunningServer.start({ readiness: async () => state });
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
});
const transport = () => createGrpcTransport({ baseUrl: running.url });

type Ask = Partial<Pick<ServerReflectionRequest, "messageRequest">>;

/** Asks all on one stream. */
async function reflect(version: typeof V1 | typeof V1Alpha, asks: readonly Ask["messageRequest"][]) {
  const requests = async function* () {
    for (const messageRequest of asks) yield { messageRequest } as never;
  };
  const answers = [];
  for await (const { messageResponse } of createClient(version as typeof V1, transport()).serverReflectionInfo(
    requests(),
  )) {
    answers.push(messageResponse);
  }
  return answers;
}

describe.each([
  ["v1", V1],
  ["v1alpha", V1Alpha],
] as const)("F2 reflection %s", (_name, version) => {
  test("lists the services", async () => {
    const [list] = await reflect(version, [{ case: "listServices", value: "" }]);
    const names = list?.case === "listServicesResponse" ? list.value.service.map(({ name }) => name) : [];
    expect(names).toEqual(
      [
        ...services,
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
      ].sort(),
    );
  });

  test.each([
    "leasehold.v1.WorkspaceService",
    "leasehold.v1.WorkspaceService.Acquire",
    ".leasehold.v1.Lease",
    "leasehold.v1.Lease.fence",
    "leasehold.v1.WatchResponse.item",
    "leasehold.v1.WORKSPACE_STATE_IDLE",
    "leasehold.v1.ErrorReason",
    "google.rpc.ErrorInfo",
    "google.protobuf.Timestamp",
  ])("finds the file of %s with all that it imports", async (symbol) => {
    const [answer] = await reflect(version, [{ case: "fileContainingSymbol", value: symbol }]);
    if (answer?.case !== "fileDescriptorResponse") throw new Error(`answered ${answer?.case}`);
    const files = answer.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
    const names = new Set(files.map(({ name }) => name));
    for (const { dependency } of files) for (const wanted of dependency) expect(names).toContain(wanted);
  });

  test("sends no file twice on a stream, and says what it does not have", async () => {
    const ask = { case: "fileByFilename", value: "leasehold/v1/lease.proto" } as const;
    const [first, second, unknown, empty] = await reflect(version, [
      { case: "fileByFilename", value: "leasehold/v1/workspace.proto" },
      ask,
      { case: "fileContainingSymbol", value: "no.such.Thing" },
      { case: undefined },
    ]);
    const count = (answer: typeof first) =>
      answer?.case === "fileDescriptorResponse" ? answer.value.fileDescriptorProto.length : 0;
    expect([count(first) > 2, count(second)]).toEqual([true, 1]);
    expect(unknown?.case === "errorResponse" && unknown.value.errorCode).toBe(Code.NotFound);
    expect(empty?.case === "errorResponse" && empty.value.errorCode).toBe(Code.InvalidArgument);
  });
});

test("F2 a caller with nothing but reflection and @grpc/grpc-js can call", async () => {
  const [answer] = await reflect(V1, [{ case: "fileContainingSymbol", value: "leasehold.v1.AdminService" }]);
  if (answer?.case !== "fileDescriptorResponse") throw new Error("no descriptors");
  const files = answer.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
  const file: typeof files = [];
  const add = (wanted: string) => {
    const found = files.find(({ name }) => name === wanted);
    for (const imported of found?.dependency ?? []) add(imported);
    if (found && !file.includes(found)) file.push(found);
  };
  for (const { name } of files) add(name);
  const registry = createFileRegistry(create(FileDescriptorSetSchema, { file }));
  const method = registry.getService("leasehold.v1.AdminService")?.methods.find(({ name }) => name === "RefreshMirror");
  if (!method) throw new Error("no method");
  const request = toBinary(method.input, fromJson(method.input, { repository: "demo" }));
  const { response, error } = await callByGrpcJs(
    `127.0.0.1:${running.port}`,
    "/leasehold.v1.AdminService/RefreshMirror",
    request,
  );
  expect(error).toBeUndefined();
  expect(toJson(method.output, fromBinary(method.output, response as Buffer), { registry })).toMatchObject({
    repository: { name: "demo", state: "REPOSITORY_STATE_READY" },
    changed: true,
  });
});

test.each(["grpc", "grpcweb", "connect"])(
  "G8 `buf curl --protocol %s` calls by reflection",
  async (protocol) => {
    const args = ["curl", "--protocol", protocol, "--http2-prior-knowledge", "-d", '{"repository":"demo"}'];
    const { stdout } = await run("node_modules/.bin/buf", [
      ...args,
      `${running.url}/leasehold.v1.WorkspaceService/Acquire`,
    ]);
    expect(JSON.parse(stdout)).toMatchObject({
      lease: { leaseId: "w17.4", fence: "4" },
      source: "WORKSPACE_SOURCE_WARM",
    });
  },
  30_000,
);

describe("G11 health", () => {
  const health = () => createClient(Health, transport());

  test("Check and List tell every service, and Check does not know others", async () => {
    for (const service of ["", ...services]) expect((await health().check({ service })).status).toBe(Status.SERVING);
    const { statuses } = await health().list({});
    expect(Object.keys(statuses).sort()).toEqual(["", ...services]);
    expect((await errorOf(health().check({ service: "no.such" }))).code).toBe(Code.NotFound);
  });

  test("Watch tells at once, and again when readiness changes; an unknown service is SERVICE_UNKNOWN", async () => {
    const stop = new AbortController();
    const seen: Status[] = [];
    const watching = (async () => {
      for await (const { status } of health().watch({ service: services[0] as string }, { signal: stop.signal }))
        seen.push(status);
    })();
    await until("the first status came", () => seen.length === 1);
    state = { ok: false, detail: "no database" };
    await until("the change came", () => seen.length === 2);
    expect((await fetch(`${running.url}/readyz`)).status).toBe(503);
    expect(await (await fetch(`${running.url}/readyz`)).json()).toEqual(state);
    expect((await fetch(`${running.url}/healthz`)).status).toBe(200);
    state = { ok: true, detail: "ready" };
    await until("the change back came", () => seen.length === 3);
    expect(seen).toEqual([Status.SERVING, Status.NOT_SERVING, Status.SERVING]);
    stop.abort();
    await expect(watching).rejects.toThrow();
    const leave = new AbortController();
    const unknown = health().watch({ service: "no.such" }, { signal: leave.signal })[Symbol.asyncIterator]();
    expect((await unknown.next()).value?.status).toBe(Status.SERVICE_UNKNOWN);
    leave.abort();
    await until("no watch is left", () => running.server.running.streams === 0);
  });
});

test("what is no call and no probe is 404 with a short text", async () => {
  for (const [path, method] of [
    ["/", "GET"],
    ["/healthz", "POST"],
    ["/leasehold.v1.WorkspaceService/Acquire/x", "GET"],
  ] as const) {
    const response = await fetch(running.url + path, { method });
    expect([response.status, (await response.text()).length < 20]).toEqual([404, true]);
  }
});
