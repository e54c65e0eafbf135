/** Who may call: bearer tokens, roles, and the file they come from. */
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CallOptions, Code, type ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ServerReflection } from "../../gen/grpc/reflection/v1/reflection_pb.js";
import { Health } from "../../gen/health/v1/health_pb.js";
import { AdminService } from "../../gen/leasehold/v1/admin_service_pb.js";
import { WorkspaceService } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { accessTo } from "../../src/rpc/roles.js";
import { startRpcServer } from "../../src/rpc/server.js";
import { TokensFile } from "../../src/rpc/tokens-file.js";
import { until } from "../support/until.js";
import { errorInfo, errorOf } from "./clients.js";
import { InMemoryServices } from "./in-memory-services.js";
import { RunningServer, recordedLog } from "./running-server.js";

const entry = (caller: string, role: string, token: string) =>
  `- { caller: ${caller}, role: ${role}, sha256: ${createHash("sha256").update(token).digest("hex")} }\n`;
const bearer = (token: string): CallOptions => ({ headers: { authorization: `Bearer ${token}` } });

let directory: string;
let file: string;
let running: RunningServer;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "leasehold-tokens-"));
  file = join(directory, "tokens.yaml");
  await writeFile(file, entry("ci", "runner", "runner-token") + entry("ops", "admin", "admin-token"));
  running = await RunningServer.start({
    credentials: await TokensFile.open(file, recordedLog().log),
    unixSocket: true,
  });
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const transport = () => createGrpcTransport({ baseUrl: running.url });
const workspaces = () => createClient(WorkspaceService, transport());
const admin = () => createClient(AdminService, transport());
const reasonOf = async (call: Promise<unknown>) => {
  const error: ConnectError = await errorOf(call);
  return [Code[error.code], errorInfo(error).reason];
};

describe("with a tokens file", () => {
  test("a call without a credential, or with an unknown one, is refused and reaches no service", async () => {
    const before = running.services.asked.length;
    const missing = await reasonOf(workspaces().listActive({}));
    const unknown = await reasonOf(workspaces().listActive({}, bearer("no-such-token")));
    const basic = await reasonOf(workspaces().listActive({}, { headers: { authorization: "Basic eDp5" } }));
    const empty = await reasonOf(workspaces().listActive({}, { headers: { authorization: "Bearer " } }));
    expect(missing).toEqual(["Unauthenticated", "CREDENTIAL_MISSING"]);
    for (const refused of [unknown, basic, empty]) expect(refused).toEqual(["Unauthenticated", "CREDENTIAL_INVALID"]);
    expect(running.services.asked).toHaveLength(before);
  });

  test("a stream is refused likewise, before its first item", async () => {
    const first = workspaces().watch({})[Symbol.asyncIterator]().next();
    expect(await reasonOf(first)).toEqual(["Unauthenticated", "CREDENTIAL_MISSING"]);
  });

  test("a runner may acquire and is known by its name; Reclaim, Reset and all of AdminService need an admin", async () => {
    await workspaces().acquire({ repository: "demo" }, bearer("runner-token"));
    expect(running.services.asked.at(-1)?.call.caller).toEqual({ name: "ci", role: "runner" });
    const credential = bearer("runner-token");
    for (const call of [
      () => workspaces().reclaim({ repository: "demo" }, credential),
      () => workspaces().reset({ workspaceId: "w1" }, credential),
      () => admin().getServerInfo({}, credential),
    ]) {
      expect(await reasonOf(call())).toEqual(["PermissionDenied", "ROLE_REQUIRED"]);
    }
  });

  test("an admin may do everything", async () => {
    await workspaces().reclaim({ repository: "demo" }, bearer("admin-token"));
    await admin().getServerInfo({}, bearer("admin-token"));
    expect(running.services.asked.at(-1)?.call.caller).toEqual({ name: "ops", role: "admin" });
  });

  test("health and probes are open, reflection needs any credential", async () => {
    await createClient(Health, transport()).check({});
    expect((await fetch(`${running.url}/healthz`)).status).toBe(200);
    expect((await fetch(`${running.url}/readyz`)).status).toBe(200);
    const reflect = async (options: CallOptions) => {
      const request = { messageRequest: { case: "listServices" as const, value: "" } };
      const answers = createClient(ServerReflection, transport()).serverReflectionInfo(
        (async function* () {
          yield request;
        })(),
        options,
      );
      for await (const { messageResponse } of answers) return messageResponse.case;
      return undefined;
    };
    expect(await reasonOf(reflect({}))).toEqual(["Unauthenticated", "CREDENTIAL_MISSING"]);
    expect(await reflect(bearer("runner-token"))).toBe("listServicesResponse");
  });

  test("a unix socket needs a credential as well", async () => {
    const nodeOptions = { createConnection: () => connect(running.socketPath) };
    const client = createClient(WorkspaceService, createGrpcTransport({ baseUrl: "http://localhost", nodeOptions }));
    expect(await reasonOf(client.listActive({}))).toEqual(["Unauthenticated", "CREDENTIAL_MISSING"]);
    await client.listActive({}, bearer("runner-token"));
  });

  test("no token is in any log line", () => {
    expect(JSON.stringify(running.lines)).not.toMatch(/runner-token|admin-token|no-such-token/);
    expect(running.lines.some(({ caller }) => caller === "ci")).toBe(true);
  });
});

describe("the tokens file", () => {
  test("is read again when it changes, and a broken one keeps the old tokens and says so", async () => {
    const path = join(directory, "changing.yaml");
    await writeFile(path, entry("first", "runner", "one"));
    const { log, lines } = recordedLog();
    const tokens = await TokensFile.open(path, log);
    expect(await tokens.callerOf("one")).toEqual({ name: "first", role: "runner" });
    await writeFile(path, entry("second", "admin", "two-with-another-size"));
    await until(
      "the new token counts",
      async () => (await tokens.callerOf("two-with-another-size"))?.name === "second",
    );
    expect(await tokens.callerOf("one")).toBeUndefined();
    await writeFile(path, "- { caller: x, role: king, sha256: 12 }\n");
    await until("the fault is logged", async () => {
      await tokens.callerOf("any");
      return lines.some(({ level }) => level === "error");
    });
    expect(await tokens.callerOf("two-with-another-size")).toEqual({ name: "second", role: "admin" });
    await rm(path);
    await until("its absence is logged", async () => {
      await tokens.callerOf("any");
      return lines.filter(({ level }) => level === "error").length === 2;
    });
    expect(await tokens.callerOf("two-with-another-size")).toBeDefined();
  });

  test.each([
    ["no list", "caller: x\n"],
    ["an unknown role", `- { caller: x, role: king, sha256: ${"a".repeat(64)} }\n`],
    ["a token instead of a digest", "- { caller: x, role: admin, token: secret }\n"],
    ["no YAML", "- {\n"],
  ])("is refused at the start if it has %s", async (_what, content) => {
    const path = join(directory, "wrong.yaml");
    await writeFile(path, content);
    await expect(TokensFile.open(path, recordedLog().log)).rejects.toThrow();
  });
});

describe("what is served where", () => {
  const start = (host: string, credentials?: TokensFile, allowCleartext = false) => {
    const options = {
      services: new InMemoryServices(),
      log: recordedLog().log,
      readiness: async () => ({ ok: true, detail: "" }),
    };
    return startRpcServer({ ...options, listen: [{ kind: "tcp", host, port: 0 }], credentials, allowCleartext });
  };

  test("an address that is not loopback is refused without authentication, and in clear text unless allowed", async () => {
    const tokens = await TokensFile.open(file, recordedLog().log);
    await expect(start("0.0.0.0")).rejects.toThrow("needs authentication");
    await expect(start("::")).rejects.toThrow("needs authentication");
    await expect(start("0.0.0.0", tokens)).rejects.toThrow("allow_cleartext");
    const server = await start("0.0.0.0", tokens, true);
    await server.drain(0);
  });

  test("localhost and 127.0.0.2 are loopback", async () => {
    for (const host of ["localhost", "127.0.0.2"]) await (await start(host)).drain(0);
  });
});

test("every method needs a role, but for health and reflection", () => {
  const access = [...WorkspaceService.methods, ...AdminService.methods].map((method) => [
    method.name,
    accessTo(method),
  ]);
  expect(Object.fromEntries(access)).toEqual({
    Acquire: "runner",
    Heartbeat: "runner",
    Release: "runner",
    ListActive: "runner",
    GetWorkspace: "runner",
    Watch: "runner",
    Reclaim: "admin",
    Reset: "admin",
    ...Object.fromEntries(AdminService.methods.map(({ name }) => [name, "admin"])),
    // of its own only
    ListSalvages: "runner",
  });
  expect(accessTo(Health.method.check)).toBe("anyone");
  expect(accessTo(ServerReflection.method.serverReflectionInfo)).toBe("caller");
});
