/** grpcurl, which knows no proto file: everything by reflection. */
import { expect, test } from "vitest";
import { calledBy, takeAdminTour, tourLimitMs } from "./admin-tour.js";
import { makeGrpcurl } from "./grpcurl.js";
import { useServed } from "./served.js";
import { mustRun, needTool, run } from "./toolchain.js";

const grpcurl = needTool("grpcurl", makeGrpcurl);
const served = useServed();

test("F6 grpcurl lists the services over TCP and a unix socket", async () => {
  const services = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "leasehold.v1.AdminService",
    "leasehold.v1.SessionService",
    "leasehold.v1.WorkspaceService",
  ];
  for (const target of [served().target, `unix://${served().socketPath}`]) {
    const listed = await mustRun(grpcurl(), ["-plaintext", target, "list"]);
    expect(listed.trim().split("\n")).toEqual(services);
  }
});

test("F6 grpcurl describes a service, a message and an enum", async () => {
  const describe = (symbol: string) => mustRun(grpcurl(), ["-plaintext", served().target, "describe", symbol]);
  expect(await describe("leasehold.v1.WorkspaceService")).toContain(
    "rpc Watch ( .leasehold.v1.WatchRequest ) returns ( stream .leasehold.v1.WatchResponse );",
  );
  expect(await describe("leasehold.v1.ResetRequest")).toContain("int64 expected_fence = 3;");
  expect(await describe("leasehold.v1.ErrorReason")).toContain("ERROR_REASON_LEASE_LOST = 15;");
});

test(
  "F6 D4 grpcurl makes every admin call, and Reclaim and Reset",
  async () => {
    const call = async (method: string, request: object) =>
      calledBy(await run(grpcurl(), ["-plaintext", "-d", JSON.stringify(request), served().target, method]));
    // grpcurl wants a field mask as the message that it is.
    await takeAdminTour("grpcurl", call, served(), (path) => ({ paths: [path] }));
  },
  tourLimitMs,
);

test("F6 grpcurl shows why a call failed, details and all", async () => {
  const args = ["-plaintext", "-format-error", "-d", '{"ttl":"-1s"}', served().target];
  const { code, stderr } = await run(grpcurl(), [...args, "leasehold.v1.WorkspaceService/Acquire"]);
  // 64 and the status.
  expect(code).toBe(67);
  const details = (JSON.parse(stderr) as { details: object[] }).details;
  expect(details).toEqual([
    { "@type": "type.googleapis.com/google.rpc.ErrorInfo", domain: "leasehold", reason: "FIELD_INVALID" },
    {
      "@type": "type.googleapis.com/google.rpc.BadRequest",
      fieldViolations: [
        { field: "repository", description: "is required" },
        { field: "ttl", description: "is negative" },
      ],
    },
  ]);
});

test("F6 grpcurl reads the event stream to its end", async () => {
  const args = ["-plaintext", "-d", '{"fromRevision":"1","untilNow":true}', served().target];
  const text = await mustRun(grpcurl(), [...args, "leasehold.v1.WorkspaceService/Watch"]);
  expect(text).toContain("EVENT_KIND_HOST_JOINED");
});
