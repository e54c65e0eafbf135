/** Owns the conversion of what takes how many bytes, from domain to proto. */
import { create } from "@bufbuild/protobuf";
import {
  type HostUsage as HostUsageMessage,
  HostUsageSchema,
  type RepositoryUsage as RepositoryUsageMessage,
  RepositoryUsageSchema,
} from "../../../gen/leasehold/v1/usage_pb.js";
import { WorkspaceState } from "../../../gen/leasehold/v1/workspace_pb.js";
import { type HostUsage, type RepositoryUsage, totalOf } from "../../domain/usage.js";
import { fromDate } from "./convert-time.js";

export function fromHostUsage(usage: HostUsage): HostUsageMessage {
  const { host, disk, repositories, submoduleBytes, trashBytes, otherBytes, measureTime } = usage;
  const used = repositories.reduce((sum, one) => sum + totalOf(one), submoduleBytes + trashBytes + otherBytes);
  const message = create(HostUsageSchema, {
    host,
    repositories: repositories.map(fromRepositoryUsage),
    submoduleMirrorBytes: BigInt(submoduleBytes),
    trashBytes: BigInt(trashBytes),
    otherBytes: BigInt(otherBytes),
    usedBytes: BigInt(used),
  });
  if (measureTime) message.measureTime = fromDate(measureTime);
  if (!disk) return message;
  message.totalBytes = BigInt(disk.totalBytes);
  message.freeBytes = BigInt(disk.freeBytes);
  message.lowBytes = BigInt(disk.lowBytes);
  message.minFreeBytes = BigInt(disk.minFreeBytes);
  message.reserveBytes = BigInt(disk.reserveBytes);
  message.diskLow = disk.low;
  message.checkTime = fromDate(disk.checkTime);
  return message;
}

function fromRepositoryUsage(usage: RepositoryUsage): RepositoryUsageMessage {
  const message = create(RepositoryUsageSchema, {
    repository: usage.repository,
    mirrorBytes: BigInt(usage.mirrorBytes),
    workspaceBytes: BigInt(usage.workspaceBytes),
    salvageBytes: BigInt(usage.salvageBytes),
    dependencyBytes: BigInt(usage.dependencyBytes),
    totalBytes: BigInt(totalOf(usage)),
    workspaces: usage.workspaces,
    unmeasuredWorkspaces: usage.unmeasured,
    workspaceSizes: usage.sizes.map(({ workspaceId, state, bytes, measureTime }) => ({
      workspaceId,
      state: WorkspaceState[state],
      bytes: BigInt(bytes),
      measureTime: fromDate(measureTime),
    })),
  });
  if (usage.measureTime) message.measureTime = fromDate(usage.measureTime);
  return message;
}
