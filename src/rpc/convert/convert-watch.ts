/**
 * Owns the conversion of what Watch asks for and sends.
 *
 * Invariants:
 * 1. What many watchers are sent, the item of an event, is converted once, and serialised once for all protocols.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { EventKind, type Event as EventMessage, EventSchema } from "../../../gen/leasehold/v1/event_pb.js";
import { LeaseEndReason } from "../../../gen/leasehold/v1/lease_pb.js";
import { WorkspaceState } from "../../../gen/leasehold/v1/workspace_pb.js";
import {
  BookmarkSchema,
  SnapshotEndSchema,
  type WatchRequest,
  type WatchResponse,
  WatchResponseSchema,
} from "../../../gen/leasehold/v1/workspace_service_pb.js";
import type { Event, EventFilter, EventKind as Kind } from "../../domain/event.js";
import type { WatchInput, WatchItem, WatchStep } from "../../service/services.js";
import { enveloped } from "../direct/envelope.js";
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

const messages = new WeakMap<WatchItem, WatchResponse>();
const envelopes = new WeakMap<WatchItem, Uint8Array>();

export function fromWatchItem(item: WatchItem): WatchResponse {
  const { revision, storeId } = item;
  return (
    messages.get(item) ??
    kept(messages, item, create(WatchResponseSchema, { revision, storeId, item: contentOf(item) }))
  );
}

/** The item as the binary encodings of all protocols frame it. */
function envelopeOf(item: WatchItem): Uint8Array {
  return envelopes.get(item) ?? kept(envelopes, item, enveloped(toBinary(WatchResponseSchema, fromWatchItem(item))));
}

function kept<T>(cache: WeakMap<WatchItem, T>, item: WatchItem, value: T): T {
  if (item.kind === "event") cache.set(item, value);
  return value;
}

/** Each item by itself. */
export async function* watchMessages(steps: AsyncIterable<WatchStep>): AsyncGenerator<WatchResponse> {
  for await (const step of steps) {
    for (const item of itemsOf(step)) yield fromWatchItem(item);
  }
}

/** Bytes from which on a piece is sent before more is added to it. */
const pieceBytes = 32 * 1024;

/** What comes at once in one piece, or in several if it is much. */
export async function* watchEnvelopes(steps: AsyncIterable<WatchStep>): AsyncGenerator<Uint8Array> {
  for await (const step of steps) {
    let parts: Uint8Array[] = [];
    let size = 0;
    for (const item of itemsOf(step)) {
      const part = envelopeOf(item);
      parts.push(part);
      size += part.length;
      if (size < pieceBytes) continue;
      yield Buffer.concat(parts, size);
      parts = [];
      size = 0;
    }
    const [only] = parts;
    if (only) yield parts.length === 1 ? only : Buffer.concat(parts, size);
  }
}

function itemsOf(step: WatchStep): readonly WatchItem[] {
  return "kind" in step ? [step] : step;
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
    subject: event.subject,
    eventTime: fromDate(event.time),
  });
  if (event.reason) message.reason = LeaseEndReason[event.reason];
  if (event.previousState) message.previousState = WorkspaceState[event.previousState];
  if (event.state) message.state = WorkspaceState[event.state];
  return message;
}
