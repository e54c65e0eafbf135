/** Owns the conversion of what verifying workspaces found. */
import { create } from "@bufbuild/protobuf";
import {
  type Verification,
  VerificationOutcome,
  VerificationSchema,
} from "../../../gen/leasehold/v1/admin_service_pb.js";
import type { VerifyResult } from "../../service/services.js";
import { fromWorkspace } from "./convert-workspace.js";

export function fromVerifyResult(result: VerifyResult): Verification {
  const workspace = result.workspace ? fromWorkspace(result.workspace) : { workspaceId: result.workspaceId };
  if ("skipped" in result) {
    return create(VerificationSchema, { workspace, outcome: VerificationOutcome.SKIPPED, reason: result.skipped });
  }
  const { verification } = result;
  const isPristine = verification.kind === "pristine";
  return create(VerificationSchema, {
    workspace,
    outcome: isPristine ? VerificationOutcome.PRISTINE : VerificationOutcome.DIFFERS,
    findings: isPristine ? [] : [...verification.findings],
    files: BigInt(verification.files),
  });
}
