/** What callers with credentials may do with URLs, and with each other's leases. */
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Code, type Interceptor } from "@connectrpc/connect";
import { beforeAll, expect, it } from "vitest";
import { Client, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();
let root: string;
let tokens: string;

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
/** A client of the server as the caller whose token is its name. */
const as = (server: ServerProcess, token: string) => {
  const authorize: Interceptor = (next) => (request) => {
    request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const made = new Client(() => server.address, [authorize]);
  servers.atEnd(() => made.close());
  return made;
};

beforeAll(async () => {
  root = await servers.directory();
  const roles = { ann: "runner", bob: "runner", root: "admin" };
  const entries = Object.entries(roles).map(
    ([caller, role]) => `- { caller: ${caller}, role: ${role}, sha256: ${sha256(caller)} }\n`,
  );
  tokens = join(root, "tokens.yaml");
  await writeFile(tokens, entries.join(""));
});

it("a URL is allowed only where the configuration says so, and a call needs a credential", async () => {
  const server = await servers.start({ flags: ["--tokens-file", tokens] });
  const notAllowed = { code: Code.InvalidArgument, reason: "UPSTREAM_NOT_ALLOWED" };
  for (const url of ["/srv/x.git", "file:///srv/x.git"]) {
    const call = as(server, "root").admin.registerRepository({ repository: { name: "x", url } });
    expect(await refusal(call)).toMatchObject(notAllowed);
  }
  const byUrl = as(server, "ann").acquire({ repository: "https://example.com/x.git" });
  expect(await refusal(byUrl)).toMatchObject(notAllowed);
  const missing = { code: Code.Unauthenticated, reason: "CREDENTIAL_MISSING" };
  expect(await refusal(server.client.acquire({ repository: "x" }))).toMatchObject(missing);
  expect(await refusal(as(server, "eve").acquire({ repository: "x" }))).toMatchObject({
    code: Code.Unauthenticated,
    reason: "CREDENTIAL_INVALID",
  });
  await server.stop();
});

it("a runner may acquire by a URL that matches allow_urls, which registers it, and by no other", async () => {
  const { url } = await Upstream.make(root, "allowed");
  const other = await Upstream.make(root, "another");
  const flags = ["--tokens-file", tokens, "--allow-local", "--allow-url", `${url.replace(/[^/]+$/, "")}allow*`];
  const server = await servers.start({ flags });
  const ann = as(server, "ann");
  const held = await ann.acquire({ repository: url });
  expect(held.answer.lease).toMatchObject({ repository: "allowed", caller: "ann" });
  await ann.release(held);
  expect(await refusal(ann.acquire({ repository: other.url }))).toMatchObject({ reason: "UPSTREAM_NOT_ALLOWED" });
  await server.stop();
});

it("a runner can neither use another's lease token nor see another's lease", async () => {
  const server = await servers.start({ flags: ["--tokens-file", tokens, "--allow-local"] });
  const [ann, bob] = [as(server, "ann"), as(server, "bob")];
  const { url } = await Upstream.make(root, "guarded");
  await as(server, "root").admin.registerRepository({ repository: { name: "guarded", url } });
  const held = await ann.acquire({ repository: "guarded" });
  expect(held.answer.lease?.caller).toBe("ann");
  for (const call of [() => bob.heartbeat(held), () => bob.release(held)]) {
    expect(await refusal(call())).toMatchObject({ code: Code.PermissionDenied, reason: "TOKEN_INVALID" });
  }
  expect((await bob.workspaces.listActive({})).workspaces).toEqual([]);
  expect(await refusal(bob.get(held.workspaceId))).toMatchObject({ reason: "WORKSPACE_NOT_FOUND" });
  const reset = ann.workspaces.reset({ workspaceId: held.workspaceId });
  expect(await refusal(reset)).toMatchObject({ code: Code.PermissionDenied, reason: "ROLE_REQUIRED" });
  await ann.release(held);
  await server.stop();
});
