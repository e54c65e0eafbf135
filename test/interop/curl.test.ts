/** curl, which knows HTTP and JSON only. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { GetServerInfoRequestSchema, GetServerInfoResponseSchema } from "../../gen/leasehold/v1/admin_service_pb.js";
import { takeAdminTour, tourLimitMs } from "./admin-tour.js";
import { useServed } from "./served.js";
import { mayRun, mustRun, needTool, run } from "./toolchain.js";

const curl = needTool("curl", async () => {
  await mayRun("curl", ["--version"]);
  return "curl";
});
const served = useServed();
const json = ["--silent", "--show-error", "--header", "content-type: application/json"];
const ways: Record<string, readonly string[]> = { "HTTP-1.1": ["--http1.1"], "HTTP-2": ["--http2-prior-knowledge"] };

describe.each(Object.entries(ways))("over %s", (name, flags) => {
  test(
    "F2 curl makes every admin call in JSON",
    async () => {
      const call = async (method: string, request: object) => {
        const args = [...json, ...flags, "--fail-with-body", "--data", JSON.stringify(request)];
        const { code, stdout } = await run(curl(), [...args, `${served().url}/${method}`]);
        return code === 0 ? { answer: JSON.parse(stdout) } : { error: stdout };
      };
      await takeAdminTour(`curl-${name.toLowerCase()}`, call, served());
    },
    tourLimitMs,
  );

  test("F2 an error is an HTTP status, a code, and readable details", async () => {
    const args = [...json, ...flags, "--write-out", "\n%{http_code}", "--data", "{}"];
    const text = await mustRun(curl(), [...args, `${served().url}/leasehold.v1.WorkspaceService/GetWorkspace`]);
    const [body = "", status] = text.split("\n");
    expect(status).toBe("400");
    expect(JSON.parse(body)).toMatchObject({
      code: "invalid_argument",
      details: [
        { type: "google.rpc.ErrorInfo", debug: { reason: "FIELD_INVALID", domain: "leasehold" } },
        { type: "google.rpc.BadRequest", debug: { fieldViolations: [{ field: "workspace_id" }] } },
      ],
    });
  });

  test("F2 gRPC-Web answers a message and a trailer", async () => {
    const message = toBinary(GetServerInfoRequestSchema, { $typeName: "leasehold.v1.GetServerInfoRequest" });
    const path = join(served().directory, "request.bin");
    writeFileSync(path, Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]));
    const child = spawn(
      curl(),
      [
        ...["--silent", ...flags, "--header", "content-type: application/grpc-web+proto", "--data-binary", `@${path}`],
        `${served().url}/leasehold.v1.AdminService/GetServerInfo`,
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    await once(child, "close");
    const body = Buffer.concat(chunks);
    const length = body.readUInt32BE(1);
    expect(fromBinary(GetServerInfoResponseSchema, body.subarray(5, 5 + length))).toMatchObject({ owner: true });
    const trailer = body.subarray(5 + length);
    // The flag of a trailer.
    expect(trailer[0]).toBe(0x80);
    expect(trailer.subarray(5).toString()).toContain("grpc-status: 0");
  });
});

test("F2 a call without side effects can be a GET", async () => {
  const url = `${served().url}/leasehold.v1.WorkspaceService/ListActive?connect=v1&encoding=json&message=%7B%7D`;
  expect(JSON.parse(await mustRun(curl(), ["--silent", url]))).toHaveProperty("storeId");
});

test("F2 curl reaches the unix socket, and the probes", async () => {
  for (const path of ["healthz", "readyz"]) {
    const args = ["--silent", "--fail", "--unix-socket", served().socketPath, `http://localhost/${path}`];
    expect(JSON.parse(await mustRun(curl(), args))).toMatchObject({ ok: true });
  }
});
