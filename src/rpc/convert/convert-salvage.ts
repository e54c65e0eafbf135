/** Owns the conversion of salvages, and of which are asked for. */
import { create } from "@bufbuild/protobuf";
import type { ListSalvagesRequest } from "../../../gen/leasehold/v1/admin_service_pb.js";
import { LeaseEndReason } from "../../../gen/leasehold/v1/lease_pb.js";
import { type Salvage as SalvageMessage, SalvageSchema } from "../../../gen/leasehold/v1/salvage_pb.js";
import type { Salvage } from "../../domain/salvage.js";
import type { SalvageFilter } from "../../ports/salvage-store.js";
import { fromDate } from "./convert-time.js";

export function fromSalvage(salvage: Salvage): SalvageMessage {
  const { salvageId, repository, host, leaseId, workspaceId, holder, caller, repositoryPath, ref, commit } = salvage;
  return create(SalvageSchema, {
    salvageId,
    repository,
    host,
    leaseId,
    workspaceId,
    holder,
    caller,
    repositoryPath,
    ref,
    commit,
    reason: salvage.reason === undefined ? LeaseEndReason.UNSPECIFIED : LeaseEndReason[salvage.reason],
    files: BigInt(salvage.files),
    commits: BigInt(salvage.commits),
    bytes: BigInt(salvage.bytes),
    incomplete: [...salvage.incomplete],
    createTime: fromDate(salvage.createTime),
    expireTime: fromDate(salvage.expireTime),
  });
}

/** Without the caller, which the service adds. */
export function toSalvageFilter(request: ListSalvagesRequest): SalvageFilter {
  const { repository, host, holder, workspaceId, leaseId, salvageId } = request;
  return {
    ...(repository && { repository }),
    ...(host && { host }),
    ...(holder && { holder }),
    ...(workspaceId && { workspaceId }),
    ...(leaseId && { leaseId }),
    ...(salvageId && { salvageId }),
  };
}
