/** Owns the conversion of hosts and of what a server tells about itself. */
import { create } from "@bufbuild/protobuf";
import { type GetServerInfoResponse, GetServerInfoResponseSchema } from "../../../gen/leasehold/v1/admin_service_pb.js";
import { type Host as HostMessage, HostSchema } from "../../../gen/leasehold/v1/host_pb.js";
import type { Host } from "../../domain/host.js";
import type { ServerInfo } from "../../service/services.js";
import { fromReport } from "./convert-sweep.js";
import { fromDate, fromMs } from "./convert-time.js";

export function fromHost(host: Host): HostMessage {
  const { name, owned, workspaces, leases } = host;
  const message = create(HostSchema, { name, owned, workspaces, leases, createTime: fromDate(host.createTime) });
  if (host.wellTime) message.wellTime = fromDate(host.wellTime);
  if (host.seenTime) message.seenTime = fromDate(host.seenTime);
  return message;
}

export function fromServerInfo(info: ServerInfo): GetServerInfoResponse {
  const message = create(GetServerInfoResponseSchema, {
    version: info.version,
    host: info.host,
    owner: info.owner,
    storeId: info.storeId,
    newestRevision: info.newestRevision,
    oldestRevision: info.oldestRevision,
    startTime: fromDate(info.startTime),
    eventRetention: fromMs(info.eventRetentionMs),
    minTtl: fromMs(info.ttl.min),
    maxTtl: fromMs(info.ttl.max),
    defaultTtl: fromMs(info.ttl.default),
    authentication: info.authentication,
    components: { ...info.components },
  });
  if (info.lastSweep) message.lastSweep = fromReport(info.lastSweep);
  return message;
}
