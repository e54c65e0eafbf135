/** Owns how the outcomes of Reclaim and Reset are shown, and the exit code that they give. */
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { WorkspaceAction, type WorkspaceResult } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { enumName } from "./arguments.js";
import { exitCodes } from "./exit-codes.js";
import { printTable } from "./output.js";
import { sizeText } from "./size-text.js";

export function printResults(results: readonly WorkspaceResult[]): void {
  const rows = results.map(({ workspace, action, reason, freedBytes }) => [
    workspace?.workspaceId ?? "",
    workspace?.repository ?? "",
    enumName(WorkspaceAction, action),
    reason,
    workspace === undefined ? "" : enumName(WorkspaceState, workspace.state).replace("UNSPECIFIED", ""),
    freedBytes === 0n ? "" : sizeText(freedBytes),
    workspace?.path ?? "",
  ]);
  printTable(["WORKSPACE", "REPOSITORY", "DONE", "WHY NOT", "STATE", "FREES", "PATH"], rows, "nothing to do");
}

/** A batch never fails as a whole; that something in it was refused shows in the exit code. */
export function resultsExitCode(results: readonly WorkspaceResult[]): number {
  return results.some(({ action }) => action === WorkspaceAction.NONE) ? exitCodes.conflict : exitCodes.ok;
}
