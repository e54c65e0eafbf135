/** Owns the conversion of what Release answers. */
import { create } from "@bufbuild/protobuf";
import {
  Disposition as DispositionMessage,
  type ReleaseResponse,
  ReleaseResponseSchema,
  SalvageState,
} from "../../../gen/leasehold/v1/workspace_service_pb.js";
import type { Disposition } from "../../domain/workspace.js";
import type { WorkFate } from "../../ports/salvage-store.js";
import type { Released } from "../../service/services.js";
import { fromSalvage } from "./convert-salvage.js";
import { fromWorkspace } from "./convert-workspace.js";

/** Unspecified is CLEAN. */
export function toDisposition(disposition: DispositionMessage): Disposition {
  return disposition === DispositionMessage.UNSPECIFIED ? "CLEAN" : (DispositionMessage[disposition] as Disposition);
}

const states: Readonly<Record<WorkFate["kind"], SalvageState>> = {
  none: SalvageState.NONE,
  saved: SalvageState.SAVED,
  pending: SalvageState.PENDING,
};

export function fromReleased({ workspace, alreadyReleased, fate }: Released): ReleaseResponse {
  const message = create(ReleaseResponseSchema, {
    workspace: fromWorkspace(workspace),
    alreadyReleased,
    salvageState: states[fate.kind],
  });
  if (fate.kind === "saved") message.salvage = fromSalvage(fate.salvage);
  return message;
}
