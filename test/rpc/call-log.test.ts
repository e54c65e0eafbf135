/** What the log tells of calls, and what it never tells. */
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WorkspaceService } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { createLog, redact } from "../../src/log.js";
import { until } from "../support/until.js";
import { errorOf, protocols } from "./clients.js";
import { RunningServer } from "./running-server.js";

let running: RunningServer;
beforeEach(async () => {
  running = await RunningServer.start();
});
afterEach(async () => {
  await running[Symbol.asyncDispose]();
});
const client = () => createClient(WorkspaceService, createGrpcTransport({ baseUrl: running.url }));
const token = `w17.4.${"s".repeat(43)}`;

describe("a call", () => {
  test("is one line with request id, method, protocol, code, duration and ids", async () => {
    await client().acquire({ repository: "demo" }, { headers: { "x-request-id": "my-id.1" } });
    const [line] = running.lines;
    expect(running.lines).toHaveLength(1);
    expect(line).toMatchObject({
      level: "info",
      request_id: "my-id.1",
      method: "leasehold.v1.WorkspaceService/Acquire",
      protocol: "grpc",
      code: "OK",
      caller: "",
      lease_id: "w17.4",
      workspace_id: "w17",
      duration_ms: expect.any(Number),
    });
  });

  test("that is refused has its reason", async () => {
    await errorOf(client().getWorkspace({ workspaceId: "w99" }));
    expect(running.lines[0]).toMatchObject({ code: "NOT_FOUND", reason: "WORKSPACE_NOT_FOUND", workspace_id: "w99" });
  });

  test.each(Object.entries(protocols))(
    "over %s is answered with its request id, given or made",
    async (_name, transport) => {
      const ids: (string | null)[] = [];
      const calling = createClient(WorkspaceService, transport(running.url));
      const onHeader = (header: Headers) => ids.push(header.get("x-request-id"));
      await calling.getWorkspace({ workspaceId: "w1" }, { onHeader, headers: { "x-request-id": "given" } });
      await calling.getWorkspace({ workspaceId: "w1" }, { onHeader, headers: { "x-request-id": "not sane;" } });
      expect(ids[0]).toBe("given");
      expect(ids[1]).toMatch(/^[0-9a-f-]{36}$/);
      expect(running.lines.map(({ request_id }) => request_id)).toEqual(ids);
    },
  );

  test("that never could be read is logged too", async () => {
    const path = `${running.url}/leasehold.v1.WorkspaceService/Acquire`;
    await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: "{" });
    expect(running.lines[0]).toMatchObject({
      code: "INVALID_ARGUMENT",
      reason: "FIELD_INVALID",
      msg: "call failed unread",
    });
  });

  test("that streams is a line at its begin and one at its end", async () => {
    const stop = new AbortController();
    const items = client().watch({}, { signal: stop.signal })[Symbol.asyncIterator]();
    await items.next();
    expect(running.lines.map(({ msg }) => msg)).toEqual(["stream began"]);
    stop.abort();
    await until("the end is logged", () => running.lines.length === 2);
    expect(running.lines[1]).toMatchObject({ code: "CANCELLED", method: "leasehold.v1.WorkspaceService/Watch" });
  });
});

describe("no line has", () => {
  test("a lease token, a request id of Acquire, or a secret in a wrong field", async () => {
    await client().acquire({
      repository: "https://git.example.com/x",
      requestId: "secret-request",
      holder: "secret-holder",
    });
    await client().heartbeat({ leaseId: "w17.4", leaseToken: token });
    await errorOf(client().heartbeat({ leaseId: token, leaseToken: "w17.4" }));
    await errorOf(client().getWorkspace({ workspaceId: "w500" }));
    const written = JSON.stringify(running.lines);
    expect(running.lines).toHaveLength(4);
    expect(written).not.toMatch(/secret-request|secret-holder|s{43}|git\.example/);
  });

  test("credentials of a URL, a bearer token or a lease token, wherever they come from", () => {
    const lines: string[] = [];
    const log = createLog({ level: "info", format: "json", destination: { write: (line) => void lines.push(line) } });
    const url = "https://user:hunter2@git.example.com/x.git";
    log.info({ url, headers: { authorization: "Bearer abc.def" } }, `fetch of ${url} failed`);
    log.error({ err: new Error(`cannot read ${url}: authorization: Bearer abc.def`) }, `token ${token}`);
    expect(lines.join("")).not.toMatch(/hunter2|abc\.def|s{43}/);
    expect(lines.map((line) => JSON.parse(line) as unknown)).toHaveLength(2);
    expect(redact("https://ghp_secret@github.com/x, ssh://git@host/x, git@host:x")).toBe(
      "https://[redacted]@github.com/x, ssh://git@host/x, git@host:x",
    );
  });
});

test("lines for people have no secrets either", () => {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  createLog({ level: "info", format: "pretty", destination }).info({ url: "https://u:hunter2@h/x" }, "shown");
  expect(lines.join("")).toContain("shown");
  expect(lines.join("")).not.toContain("hunter2");
});
