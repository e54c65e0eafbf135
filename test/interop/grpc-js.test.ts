/** @grpc/grpc-js, with descriptors got by reflection only, and with those of proto/. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type ServiceError, status } from "@grpc/grpc-js";
import * as loader from "@grpc/proto-loader";
import { expect, test } from "vitest";
import { type Caller, callerOf, fromProtoDirectory, fromReflection, type Message } from "./grpc-js-client.js";
import { useServed } from "./served.js";
import { expectStory, type Refusal, type Story } from "./story.js";
import { root } from "./toolchain.js";

const served = useServed();

const rpc = loader.loadSync(["google/rpc/status.proto", "google/rpc/error_details.proto"], {
  keepCase: true,
  includeDirs: [join(root, "node_modules/google-proto-files")],
});

test.each(["reflection", "proto/"])("F2 F5 grpc-js works with the descriptors of %s", async (source) => {
  const { target, upstream } = served();
  const caller =
    source === "proto/"
      ? callerOf(target, fromProtoDirectory())
      : callerOf(target, await fromReflection(target), "entries");
  try {
    expectStory(await play(caller, upstream, `grpc-js ${source}`));
  } finally {
    caller.close();
  }
});

test("F2 F5 grpc-js works over a unix socket", async () => {
  const { socketPath, upstream } = served();
  const caller = callerOf(`unix:${socketPath}`, fromProtoDirectory());
  try {
    expectStory(await play(caller, upstream, "grpc-js unix"));
  } finally {
    caller.close();
  }
});

async function play(caller: Caller, repository: string, holder: string): Promise<Story> {
  const changes = caller.stream("Watch", { holder })[Symbol.asyncIterator]();
  expect((await changes.next()).value).toHaveProperty("snapshot_end");

  const labels = caller.toMap({ job: "interop" });
  const request = { request_id: `${holder} ${Date.now()}`, repository, holder, labels };
  const acquired = await caller.unary("Acquire", request);
  const again = await caller.unary("Acquire", request);
  const lease_id = (acquired.lease as Message).lease_id as string;
  const lease_token = acquired.lease_token as string;
  const { path } = acquired.workspace as { path: string };
  const readme = readFileSync(join(path, "README.md"), "utf8");

  const renewed = await caller.unary("Heartbeat", { lease_id, lease_token, ttl: { seconds: 120 } });
  const { remaining } = renewed.lease as { remaining: { seconds: string; nanos: number } };
  const listed = (await caller.unary("ListActive", { holder })).workspaces as {
    lease: { lease_id: string; labels: unknown };
  }[];
  const forged = await refusalOf(caller.unary("Heartbeat", { lease_id, lease_token: `${lease_token.slice(0, -2)}AA` }));
  const wrong = await refusalOf(caller.unary("Acquire", { ttl: { seconds: -1 } }));
  const alreadyReleased = [];
  for (let time = 1; time <= 2; time++) {
    const released = await caller.unary("Release", { lease_id, lease_token });
    alreadyReleased.push(released.already_released as boolean);
  }
  const late = await refusalOf(caller.unary("Heartbeat", { lease_id, lease_token }));

  const events: string[] = [];
  let endReason = "";
  while (endReason === "") {
    const { value, done } = await changes.next();
    if (done) throw new Error("the stream ended");
    const event = value.event as { kind: string; lease_id: string; reason: string } | undefined;
    if (event?.lease_id !== lease_id) continue;
    events.push(event.kind);
    if (event.kind === "EVENT_KIND_LEASE_ENDED") endReason = event.reason;
  }
  await changes.return?.();
  return {
    leaseId: lease_id,
    sameLease: (again.lease as Message).lease_id === lease_id && again.lease_token === lease_token,
    readme,
    source: acquired.source as string,
    remainingSeconds: Number(remaining.seconds) + remaining.nanos / 1e9,
    active: listed.map((workspace) => workspace.lease.lease_id),
    labels: caller.fromMap(listed[0]?.lease.labels),
    forged,
    wrong,
    alreadyReleased,
    late,
    events,
    endReason,
  };
}

/** What the server said when it refused, out of the trailer `grpc-status-details-bin`. */
async function refusalOf(call: Promise<unknown>): Promise<Refusal> {
  const error = await call.then(
    () => undefined,
    (reason: ServiceError) => reason,
  );
  if (error === undefined) return { code: "OK", domain: "", reason: "", fields: [] };
  const decode = <T>(name: string, bytes: Buffer) =>
    (rpc[name] as loader.MessageTypeDefinition<object, T>).deserialize(bytes);
  const [trailer] = error.metadata.get("grpc-status-details-bin");
  const { details } = decode<{ details: { type_url: string; value: Buffer }[] }>(
    "google.rpc.Status",
    trailer as Buffer,
  );
  const detail = <T>(name: string): T | undefined => {
    const found = details.find(({ type_url }) => type_url.endsWith(`/${name}`));
    return found && decode<T>(name, found.value);
  };
  const info = detail<{ domain: string; reason: string }>("google.rpc.ErrorInfo");
  const faults = detail<{ field_violations: { field: string }[] }>("google.rpc.BadRequest");
  return {
    code: status[error.code],
    domain: info?.domain ?? "",
    reason: info?.reason ?? "",
    fields: (faults?.field_violations ?? []).map(({ field }) => field).sort(),
  };
}
