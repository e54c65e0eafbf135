/** Owns the conversion of what Watch asks for and sends. */
import { create } from "@bufbuild/protobuf";
import { EventKind, type Event as EventMessage, EventSchema } from "../../gen/leasehold/v1/event_pb.js";
import { LeaseEndReason } from "../../gen/leasehold/v1/lease_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import {
  BookmarkSchema,
  SnapshotEndSchema,
  type WatchRequest,
  type WatchResponse,
  WatchResponseSchema,
} from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { Event, EventFilter, EventKind as Kind } from "../domain/event.js";
import type { WatchInput, WatchItem } from "../service/services.js";
import { fromDate } from "./convert-time.js";
import { fromWorkspace } from "./convert-workspace.js";

export function toWatchInput(request: WatchRequest): WatchInput {
  const { fromRevision, includeSnapshot, untilNow, storeId } = request;
  return { filter: toEventFilter(request), fromRevision, includeSnapshot, untilNow, storeId };
}

/** Without the caller, which the service adds. */
function toEventFilter({ repository, holder, host, workspaceId, leaseId, kinds }: WatchRequest): EventFilter {
  return { repository, holder, host, workspaceId, leaseId, kinds: kinds.map((kind) => EventKind[kind] as Kind) };
}

export function fromWatchItem(item: WatchItem): WatchResponse {
  return create(WatchResponseSchema, { revision: item.revision, storeId: item.storeId, item: contentOf(item) });
}

function contentOf(item: WatchItem) {
  switch (item.kind) {
    case "snapshot":
      return { case: "snapshot" as const, value: fromWorkspace(item.workspace) };
    case "snapshotEnd":
      return { case: "snapshotEnd" as const, value: create(SnapshotEndSchema, { workspaces: item.workspaces }) };
    case "event":
      return { case: "event" as const, value: fromEvent(item.event) };
    case "bookmark":
      return { case: "bookmark" as const, value: create(BookmarkSchema) };
  }
}

export function fromEvent(event: Event): EventMessage {
  const message = create(EventSchema, {
    revision: event.revision,
    kind: EventKind[event.kind],
    repository: event.repository,
    host: event.host,
    workspaceId: event.workspaceId,
    version: event.version,
    leaseId: event.leaseId,
    fence: event.fence,
    holder: event.holder,
    caller: event.caller,
    labels: { ...event.labels },
    detail: event.detail,
    salvageId: event.salvageId,
    binding: event.binding,
    sessionId: event.sessionId,
    agent: event.agent,
    eventTime: fromDate(event.time),
  });
  if (event.reason) message.reason = LeaseEndReason[event.reason];
  if (event.previousState) message.previousState = WorkspaceState[event.previousState];
  if (event.state) message.state = WorkspaceState[event.state];
  return message;
}
