/** The calls of a session are repeated while that is safe, and carry the lease that the session was opened with. */
import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { AgentState, SessionSchema } from "../../gen/leasehold/v1/session_pb.js";
import type { RecordChangeRequest } from "../../gen/leasehold/v1/session_service_pb.js";
import { ChangeKind, connect, LeaseholdError, LeaseLostError } from "../../src/client/index.js";
import { draining, failure, granted, leaseLost, type Script, serveScript } from "../support/scripted-server.js";

const session = create(SessionSchema, {
  sessionId: "n1",
  path: "/w",
  host: "here",
  workspaceId: "w17",
  leaseId: "w17.4",
});

async function opened(sessions: Script["sessions"]) {
  const server = await serveScript({
    acquire: () => granted("/w"),
    release: () => ({}),
    sessions: { openSession: () => ({ session, reopened: true }), ...sessions },
  });
  const client = connect({ address: server.address });
  const lease = await client.acquire({ repository: "demo" });
  return {
    server,
    session: await client.openSession(lease, { labels: { team: "red" } }),
    async [Symbol.asyncDispose]() {
      await lease.release();
      client.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

test("D2 a session is opened with its lease, and asked for again while servers drain", async () => {
  let calls = 0;
  await using scene = await opened({
    openSession: (request) => {
      expect(request).toMatchObject({ leaseId: "w17.4", leaseToken: "w17.4.secret", labels: { team: "red" } });
      if (++calls < 3) throw draining();
      return { session, reopened: true };
    },
  });
  expect(calls).toBe(3);
  expect(scene.session).toMatchObject({ sessionId: "n1", path: "/w", host: "here", reopened: true });
});

test("E3 a recording whose answer was lost is asked for again with the same request id", async () => {
  const requests: RecordChangeRequest[] = [];
  await using scene = await opened({
    recordChange: (request) => {
      requests.push(request);
      if (requests.length === 1) scene.server.cut();
      return { changes: request.changes.map((change, index) => ({ ...change, sequence: BigInt(index + 1) })) };
    },
  });
  const changes = [{ kind: ChangeKind.ADDED, path: "a.txt" }];
  const recorded = await scene.session.recordChanges({ agent: "ada", changes });
  expect(recorded).toMatchObject([{ path: "a.txt", sequence: 1n }]);
  expect(requests).toHaveLength(2);
  expect(requests[0]?.requestId).not.toBe("");
  expect(requests[1]).toEqual(requests[0]);
  await scene.session.recordChanges({ agent: "ada", changes });
  expect(requests[2]?.requestId).not.toBe(requests[0]?.requestId);
});

test("E2 an update is repeated, but for one that compares versions: that it was heard could not be told", async () => {
  let calls = 0;
  await using scene = await opened({
    updateAgent: ({ agent, state }) => {
      if (++calls % 2 === 1) throw draining();
      return { agent: { agent, state, version: 5n } };
    },
  });
  expect(await scene.session.update({ agent: "ada", state: "RUNNING" })).toMatchObject({ state: AgentState.RUNNING });
  expect(calls).toBe(2);
  const compared = scene.session.update({ agent: "ada", state: "IDLE", expectedVersion: 4n });
  await expect(compared).rejects.toMatchObject({ reason: "DRAINING" });
  expect(calls).toBe(3);
});

test("D2 what the server refuses is thrown at once, by its reason; changes are listed over all pages", async () => {
  const pages: string[] = [];
  await using scene = await opened({
    attachAgent: () => {
      throw failure("SESSION_CLOSED", Code.FailedPrecondition);
    },
    closeSession: () => {
      throw leaseLost("LEASE_END_REASON_EXPIRED");
    },
    listChanges: ({ pageToken, agent }) => {
      expect(agent).toBe("ada");
      pages.push(pageToken);
      if (pageToken === "") return { changes: [{ sequence: 1n }, { sequence: 2n }], nextPageToken: "next" };
      return { changes: [{ sequence: 3n }] };
    },
  });
  const attach = scene.session.attach({ agent: "ada", backend: "demo" });
  await expect(attach).rejects.toThrow(LeaseholdError);
  await expect(attach).rejects.toMatchObject({ reason: "SESSION_CLOSED" });
  await expect(scene.session.close()).rejects.toThrow(LeaseLostError);
  const sequences: bigint[] = [];
  for await (const { sequence } of scene.session.listChanges({ agent: "ada" })) sequences.push(sequence);
  expect(sequences).toEqual([1n, 2n, 3n]);
  expect(pages).toEqual(["", "next"]);
});
