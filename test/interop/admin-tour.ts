/**
 * Owns: every call of AdminService, and Reclaim and Reset, as an operator with nothing but an address makes them.
 *
 * 1. A call that AdminService gets and this tour lacks fails the tour.
 */
import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import { expect } from "vitest";
import { AdminService } from "../../gen/leasehold/v1/admin_service_pb.js";
import { until } from "../support/until.js";
import type { Served } from "./served.js";
import type { Ran } from "./toolchain.js";

/** Some thirty processes on a machine that may have other work, in milliseconds. */
export const tourLimitMs = 90_000;

/** What a tool got for a call: the answer, or all that it said of the error. */
export type Called = { readonly answer: JsonObject } | { readonly error: string };

/** Calls `leasehold.v1.SERVICE/METHOD`. */
export type Call = (method: string, request: JsonObject) => Promise<Called>;

const admin = "leasehold.v1.AdminService/";
const workspaces = "leasehold.v1.WorkspaceService/";

/** A field mask as protobuf JSON has it. */
const canonicalMask = (path: string): JsonValue => path;

/** Plays the tour; `name` is that of the tool, so that several may share a server. */
export async function takeAdminTour(name: string, call: Call, served: Served, mask = canonicalMask): Promise<void> {
  const called = new Set<string>();
  const ask = async (method: string, request: JsonObject = {}): Promise<JsonObject> => {
    called.add(method);
    const got = await call(method, request);
    if ("error" in got) throw new Error(`${method} failed: ${got.error}`);
    return got.answer;
  };
  const askInVain = async (method: string, request: JsonObject): Promise<string> => {
    called.add(method);
    const got = await call(method, request);
    return "error" in got ? got.error : `${method} was answered`;
  };
  const host = `${name}-host`;
  const left = served.leaveHost(host);
  // Awaited further down; until then its failure is not yet ours to report.
  left.catch(() => {});

  const url = await served.makeUpstream(name);
  const settings = { name, url, maxWorkspaces: 2, labels: { tour: name } };
  const registered = await ask(`${admin}RegisterRepository`, { repository: settings });
  expect(registered).toMatchObject({ repository: settings });
  expect(await ask(`${admin}RefreshMirror`, { repository: name })).toMatchObject({
    repository: { name, state: "REPOSITORY_STATE_READY", defaultBranch: "main" },
  });
  expect(await ask(`${admin}ListRepositories`, { labels: { tour: name } })).toMatchObject({
    repositories: [{ name, url }],
  });
  const paused = { name, repository: { paused: true }, updateMask: mask("paused") };
  expect(await ask(`${admin}UpdateRepository`, paused)).toMatchObject({ repository: { paused: true } });
  expect(await askInVain(`${workspaces}Acquire`, { repository: name })).toContain("paused");
  await ask(`${admin}UpdateRepository`, { ...paused, repository: {} });

  const acquired = await ask(`${workspaces}Acquire`, { repository: name, holder: name });
  const { workspaceId, fence } = acquired.workspace as JsonObject;
  const id = { workspaceId: workspaceId as JsonValue };
  expect(await ask(`${workspaces}Reset`, id)).toMatchObject({
    results: [{ workspace: { ...id, fence }, action: "WORKSPACE_ACTION_NONE", reason: "LEASE_LIVE" }],
  });
  expect(await ask(`${workspaces}Reset`, { ...id, force: true })).toMatchObject({
    results: [{ workspace: id, action: "WORKSPACE_ACTION_LEASE_ENDED" }],
  });
  const second = await ask(`${workspaces}Acquire`, { repository: name, holder: name, wait: "10s" });
  const leaseId = (second.lease as JsonObject).leaseId as JsonValue;
  expect(await ask(`${workspaces}Reclaim`, { leaseIds: [leaseId] })).toMatchObject({
    results: [{ action: "WORKSPACE_ACTION_LEASE_ENDED" }],
  });
  expect(await ask(`${workspaces}Reset`, id)).toMatchObject({
    results: [{ workspace: id, action: "WORKSPACE_ACTION_RESET" }],
  });
  const idle = { repository: name, states: ["WORKSPACE_STATE_IDLE"] };
  await until("it is clean", async () => "workspaces" in (await ask(`${workspaces}ListActive`, idle)));
  expect(await ask(`${workspaces}Reclaim`, { workspaceIds: [id.workspaceId] })).toMatchObject({
    results: [{ workspace: id, action: "WORKSPACE_ACTION_REMOVED" }],
  });
  expect(await ask(`${workspaces}ListActive`, { repository: name })).not.toHaveProperty("workspaces");

  expect(await ask(`${admin}RemoveRepository`, { name })).toEqual({});

  const { host: own, owner } = await ask(`${admin}GetServerInfo`);
  expect(owner).toBe(true);
  await left;
  const { hosts } = (await ask(`${admin}ListHosts`)) as { hosts: { name: string; owned?: boolean }[] };
  expect(hosts).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ name: own, owned: true }),
      expect.objectContaining({ name: host }),
    ]),
  );
  expect(await askInVain(`${admin}RemoveHost`, { name: own as JsonValue })).toContain("a server owns host");
  expect(await ask(`${admin}RemoveHost`, { name: host })).toEqual({});

  expect(await ask(`${admin}ListSalvages`, {})).not.toHaveProperty("salvages");
  expect(await ask(`${admin}VerifyWorkspaces`, { workspaceIds: ["w999"] })).toMatchObject({
    results: [{ outcome: "VERIFICATION_OUTCOME_SKIPPED", reason: "WORKSPACE_NOT_FOUND" }],
  });
  expect(await ask(`${admin}Sweep`, { dryRun: true })).toMatchObject({
    sweep: { dryRun: true, summary: expect.stringMatching(/^swept: \d+ sessions, \d+ worktrees, /) },
  });
  expect(await ask(`${admin}GetUsage`, {})).toMatchObject({
    hosts: expect.arrayContaining([expect.objectContaining({ host: own })]),
  });
  expect(await askInVain(`${admin}DiscardSalvage`, { salvageId: "s999.1" })).toContain("salvage");

  const all = AdminService.methods.map((method) => admin + method.name);
  expect([...called]).toEqual(expect.arrayContaining(all));
}

/** A tool's two outcomes, by its exit code. */
export function calledBy({ code, stdout, stderr }: Ran): Called {
  return code === 0 ? { answer: JSON.parse(stdout) as JsonObject } : { error: stderr + stdout };
}
