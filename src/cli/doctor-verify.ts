/**
 * Owns `leasehold doctor --verify`: asks the fleet to prove its idle workspaces again, one by one.
 *
 * Invariant: a workspace that differs, or is quarantined, is broken; one that is in use was not looked at, which is no fault.
 */
import { type Verification, VerificationOutcome } from "../../gen/leasehold/v1/admin_service_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { allPages } from "../client/pages.js";
import { type ConnectionOptions, withClient } from "./connection.js";
import type { Finding } from "./doctor-checks.js";
import { changingNotice } from "./output.js";

/** How long one workspace may take. Everything in it is read. */
const limitMs = 30 * 60_000;

/** One finding per workspace that is not leased or being worked on, in the order of their ids. */
export function verifyWorkspaces(options: ConnectionOptions): Promise<Finding[]> {
  return withClient(options, async (client) => {
    const found: Finding[] = [];
    const progress = changingNotice();
    const ids: string[] = [];
    const states = [WorkspaceState.IDLE, WorkspaceState.QUARANTINED];
    const ask = (pageToken: string) => client.workspaces.listActive({ states, pageSize: 1_000, pageToken });
    for await (const { workspaces } of allPages(ask)) ids.push(...workspaces.map(({ workspaceId }) => workspaceId));
    for (const [index, id] of ids.entries()) {
      progress(`verifying ${id} (${index + 1} of ${ids.length})`);
      const { results } = await client.admin.verifyWorkspaces({ workspaceIds: [id] }, { timeoutMs: limitMs });
      found.push(...results.map(findingOf));
    }
    return found;
  });
}

function findingOf({ workspace, outcome, findings, reason, files }: Verification): Finding {
  const name = [workspace?.workspaceId, workspace?.repository, workspace?.host].filter(Boolean).join(" ");
  const check = `workspace ${name}`;
  if (outcome === VerificationOutcome.PRISTINE) {
    return { check, verdict: "ok", found: `is what a fresh clone is; ${files} files compared` };
  }
  if (outcome === VerificationOutcome.DIFFERS) return { check, verdict: "broken", found: findings.join("; ") };
  const isQuarantined = workspace?.state === WorkspaceState.QUARANTINED;
  return isQuarantined
    ? { check, verdict: "broken", found: `quarantined: ${workspace.problem}` }
    : { check, verdict: "note", found: `not looked at: ${reason}` };
}
