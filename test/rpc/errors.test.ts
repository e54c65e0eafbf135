/** What callers are told when a call fails, in every protocol. */
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";
import * as grpc from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BadRequestSchema, ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import {
  AcquireRequestSchema,
  GetWorkspaceRequestSchema,
  WorkspaceService,
} from "../../gen/leasehold/v1/workspace_service_pb.js";
import { Failure, type FailureReason, failureCodes } from "../../src/domain/failure.js";
import { connectCodes, toConnectError, toFailure } from "../../src/rpc/errors.js";
import { until } from "../support/until.js";
import { callByGrpcJs, detailOf, errorInfo, errorOf, protocols, retryDelayMs, wrongFields } from "./clients.js";
import { RunningServer } from "./running-server.js";

let running: RunningServer;
beforeAll(async () => {
  running = await RunningServer.start({ readMaxBytes: 64 * 1024 });
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
});

describe.each(Object.entries(protocols))("B3 over %s", (_name, transport) => {
  const client = () => createClient(WorkspaceService, transport(running.url));

  test("a failure has its code, reason, domain and metadata", async () => {
    const error = await errorOf(client().getWorkspace({ workspaceId: "w99" }));
    expect(error.code).toBe(Code.NotFound);
    expect(errorInfo(error)).toMatchObject({
      reason: "WORKSPACE_NOT_FOUND",
      domain: "leasehold",
      metadata: { workspace_id: "w99" },
    });
  });

  test("all wrong fields are told at once", async () => {
    const error = await errorOf(client().acquire({ holder: "\n", ttl: { seconds: -1n, nanos: 0 } }));
    expect(error.code).toBe(Code.InvalidArgument);
    expect(errorInfo(error).reason).toBe("FIELD_INVALID");
    expect(wrongFields(error)).toEqual(["repository", "holder", "ttl"]);
  });

  test("a defect is INTERNAL, its text stays in the log, and the request id leads to it", async () => {
    const headers = { "x-request-id": `defect-${_name.replace(" ", "-")}` };
    const error = await errorOf(client().getWorkspace({ workspaceId: "w500" }, { headers }));
    expect([error.code, error.rawMessage, errorInfo(error).reason]).toEqual([
      Code.Internal,
      "internal error",
      "INTERNAL",
    ]);
    expect(error.metadata.get("x-request-id")).toBe(headers["x-request-id"]);
    const line = running.lines.find(({ request_id }) => request_id === headers["x-request-id"]);
    expect(line).toMatchObject({ level: "error", code: "INTERNAL", err: { message: "secret detail of a defect" } });
  });

  test("a message that is too large is MESSAGE_TOO_LARGE", async () => {
    const error = await errorOf(client().acquire({ repository: "x".repeat(100_000) }));
    expect([error.code, errorInfo(error).reason]).toEqual([Code.ResourceExhausted, "MESSAGE_TOO_LARGE"]);
  });

  test("a wrong field of a stream's request is told too", async () => {
    const first = client().watch({ fromRevision: 0n })[Symbol.asyncIterator]().next();
    const error = await errorOf(first);
    expect(wrongFields(error)).toEqual(["from_revision"]);
  });

  test("an unknown method is METHOD_UNKNOWN", async () => {
    const unknown = { ...WorkspaceService.method.getWorkspace, name: "Nope", parent: WorkspaceService } as never;
    const error = await errorOf(transport(running.url).unary(unknown, undefined, undefined, undefined, {}));
    expect([error.code, errorInfo(error).reason]).toEqual([Code.Unimplemented, "METHOD_UNKNOWN"]);
  });

  test("a deadline that passes is DEADLINE_EXCEEDED, even if the service does not mind the signal", async () => {
    let finish = () => {};
    running.services.beforeAcquire = () => new Promise((resolve) => (finish = resolve));
    const before = running.services.undelivered;
    const error = await errorOf(client().acquire({ repository: "demo" }, { timeoutMs: 60 }));
    expect(error.code).toBe(Code.DeadlineExceeded);
    await until("the service is told", () => running.services.asked.at(-1)?.call.signal.aborted === true);
    finish();
    await until("the lease is given up", () => running.services.undelivered === before + 1);
    running.services.beforeAcquire = async () => {};
  });
});

test("B3 a body that cannot be read has its reason: garbage, and JSON of a wrong shape", async () => {
  const path = `${running.url}/leasehold.v1.WorkspaceService/Acquire`;
  const headers = { "content-type": "application/json" };
  for (const body of ["{", '{"ttl":5}', '{"labels":{"a":1}}', "[]"]) {
    const response = await fetch(path, { method: "POST", headers, body });
    expect(response.status).toBe(400);
    const answer = (await response.json()) as { code: string; details: { debug: { reason: string } }[] };
    expect([answer.code, answer.details[0]?.debug.reason]).toEqual(["invalid_argument", "FIELD_INVALID"]);
  }
});

test("a small body that unpacks to a large one is MESSAGE_TOO_LARGE", async () => {
  const body = gzipSync(Buffer.alloc(50_000_000));
  const headers = { "content-type": "application/proto", "content-encoding": "gzip" };
  const response = await fetch(`${running.url}/leasehold.v1.WorkspaceService/Acquire`, {
    method: "POST",
    headers,
    body,
  });
  expect(response.status).toBe(429);
  expect(await response.json()).toMatchObject({ details: [{ debug: { reason: "MESSAGE_TOO_LARGE" } }] });
});

describe("F2 @grpc/grpc-js", () => {
  const address = () => `127.0.0.1:${running.port}`;
  const method = (name: string) => `/leasehold.v1.WorkspaceService/${name}`;

  test("sees code and details of failures", async () => {
    const request = toBinary(GetWorkspaceRequestSchema, create(GetWorkspaceRequestSchema, { workspaceId: "w99" }));
    const { error } = await callByGrpcJs(address(), method("GetWorkspace"), request);
    expect(error?.code).toBe(grpc.status.NOT_FOUND);
    expect(error && detailOf(error, ErrorInfoSchema)).toMatchObject({
      reason: "WORKSPACE_NOT_FOUND",
      domain: "leasehold",
    });
  });

  test("sees 30 wrong fields in one answer, within its limit of headers", async () => {
    const labels = Object.fromEntries(Array.from({ length: 32 }, (_, index) => [`K${"x".repeat(60)}${index}`, "\n"]));
    const request = toBinary(AcquireRequestSchema, create(AcquireRequestSchema, { labels }));
    const { error } = await callByGrpcJs(address(), method("Acquire"), request);
    expect(error?.code).toBe(grpc.status.INVALID_ARGUMENT);
    expect(error && detailOf(error, BadRequestSchema)?.fieldViolations).toHaveLength(30);
  });

  test.each(["\u0001", "\u00e9", "\u{1f600}", "%"])(
    "B3 sees wrong keys made of %j, within its limit of headers",
    async (letter) => {
      const keys = Array.from({ length: 64 }, (_, index) => `${letter.repeat(130)}${index}`);
      const environment = Object.fromEntries(keys.map((key) => [`${key.slice(-126)}`, "\n"]));
      const request = toBinary(AcquireRequestSchema, create(AcquireRequestSchema, { repository: "demo", environment }));
      const { error } = await callByGrpcJs(address(), method("Acquire"), request);
      expect(error?.code).toBe(grpc.status.INVALID_ARGUMENT);
      const fields = error && detailOf(error, BadRequestSchema)?.fieldViolations.map(({ field }) => field);
      expect(fields?.length).toBeGreaterThan(5);
      expect(fields?.[0]).toMatch(/^environment\["/);
      const [details] = error?.metadata.get("grpc-status-details-bin") ?? [];
      const sent = (details as Buffer).toString("base64").length + encodeURIComponent(error?.details ?? "").length;
      expect(sent).toBeLessThan(8_000);
    },
  );

  test("sees garbage, an unknown service and a message that is too large as errors with a reason", async () => {
    const garbage = await callByGrpcJs(address(), method("Acquire"), Buffer.from([0x0a, 0xff]));
    const unknown = await callByGrpcJs(address(), "/no.such.Service/Method", new Uint8Array());
    const large = await callByGrpcJs(address(), method("Acquire"), new Uint8Array(100_000));
    const reasons = [garbage, unknown, large].map(({ error }) => error && detailOf(error, ErrorInfoSchema)?.reason);
    expect(reasons).toEqual(["FIELD_INVALID", "METHOD_UNKNOWN", "MESSAGE_TOO_LARGE"]);
    expect(unknown.error?.code).toBe(grpc.status.UNIMPLEMENTED);
  });

  test("a deadline of 30 years is no deadline", async () => {
    const request = toBinary(GetWorkspaceRequestSchema, create(GetWorkspaceRequestSchema, { workspaceId: "w17" }));
    const metadata = new grpc.Metadata();
    const deadline = new Date(Date.now() + 30 * 365 * 86_400_000);
    const { error, response } = await callByGrpcJs(address(), method("GetWorkspace"), request, { deadline }, metadata);
    expect(error).toBeUndefined();
    expect(response?.length).toBeGreaterThan(0);
  });
});

test("B3 every reason has a code of connect, and survives the way to the wire and back", () => {
  for (const reason of Object.keys(failureCodes) as FailureReason[]) {
    const failure = new Failure(reason, "text", { retryAfterMs: 1500, metadata: { a: "b" } });
    const error = toConnectError(failure);
    expect(error.code).toBe(connectCodes[failureCodes[reason]]);
    expect(errorInfo(error)).toMatchObject({ reason, domain: "leasehold", metadata: { a: "b" } });
    expect(retryDelayMs(error)).toBe(1500);
    expect(toFailure(error)).toBe(failure);
  }
});
