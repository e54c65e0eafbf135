/**
 * Owns the stream of changes as its reader has it.
 *
 * Invariants:
 * 1. Broken streams are resumed after the last revision that was given out, so that nothing is missed or repeated.
 * 2. A stream is never begun anew silently: where a snapshot was asked for, a `restart` item says that
 *    what was known is void; otherwise the error is thrown.
 */
import { create } from "@bufbuild/protobuf";
import type { Client as RawClient } from "@connectrpc/connect";
import { type Event, EventKind } from "../../gen/leasehold/v1/event_pb.js";
import type { Workspace } from "../../gen/leasehold/v1/workspace_pb.js";
import {
  type WatchRequest,
  WatchRequestSchema,
  type WatchResponse,
  type WorkspaceService,
} from "../../gen/leasehold/v1/workspace_service_pb.js";
import { asLeaseholdError, LeaseholdError, type Reason, UnreachableError } from "./error.js";
import { isTransient, pauseAfter, sleep } from "./retry.js";

export interface WatchOptions {
  readonly repository?: string;
  readonly holder?: string;
  readonly host?: string;
  readonly workspaceId?: string;
  readonly leaseId?: string;
  /** Only these kinds; without it, all. */
  readonly kinds?: readonly (keyof typeof EventKind)[];
  /** Begin with this revision, inclusive: the last one seen + 1. Without it, with what happens next. */
  readonly fromRevision?: bigint;
  /** The store that `fromRevision` is of, as told with the items that were seen. */
  readonly storeId?: string;
  /** Give the workspaces that match first. Not with `fromRevision`. */
  readonly includeSnapshot?: boolean;
  /** End with the newest event of now. */
  readonly untilNow?: boolean;
  /** Ends the stream, with its reason. */
  readonly signal?: AbortSignal;
  /** How long to go on trying until a server answers for the first time; 60,000 unless given. After that, for ever. */
  readonly connectMs?: number;
  /** Told of each break that is mended. */
  readonly onRetry?: (error: LeaseholdError, pauseMs: number) => void;
}

interface Position {
  /** Everything up to here was given out or is hidden by the filter; resume with the next one. */
  readonly revision: bigint;
  /** Names the store that revisions are of. */
  readonly storeId: string;
}

/** One item of the stream. */
export type WatchItem = Position &
  (
    | { readonly type: "snapshot"; readonly workspace: Workspace }
    /** The snapshot, empty where none was asked for, is complete. Given once, and not with `fromRevision`. */
    | { readonly type: "snapshotEnd"; readonly workspaces: number }
    | { readonly type: "event"; readonly event: Event }
    /** Nothing matched up to `revision`. */
    | { readonly type: "bookmark" }
    /** Forget what the stream has told so far: another snapshot follows. `revision` is 0. */
    | { readonly type: "restart"; readonly reason: Reason }
  );

/** A stream that was silent for this long is dead, in milliseconds: the server speaks every 15 s. */
const silenceLimit = 45_000;

/** What a snapshot mends. */
const begunAnew: ReadonlySet<Reason> = new Set<Reason>(["REVISION_COMPACTED", "REVISION_FUTURE", "STORE_CHANGED"]);

export async function* watch(
  service: RawClient<typeof WorkspaceService>,
  options: WatchOptions,
): AsyncGenerator<WatchItem, void, undefined> {
  const { signal, connectMs = 60_000, includeSnapshot = false } = options;
  const begun = performance.now();
  let reached = false;
  let failures = 0;
  let told = false;
  let storeId = options.storeId ?? "";
  // What was given out last; undefined until the stream has told, or while a snapshot is incomplete.
  let position: Position | undefined =
    options.fromRevision === undefined ? undefined : { revision: options.fromRevision - 1n, storeId };
  for (;;) {
    signal?.throwIfAborted();
    try {
      for await (const response of responses(service, requestOf(options, position, storeId), signal)) {
        reached = true;
        failures = 0;
        const item = itemOf(response);
        if (item === undefined) continue;
        storeId ||= item.storeId;
        if (position !== undefined && isOldNews(item, position.revision)) continue;
        yield item;
        told = true;
        storeId = item.storeId;
        if (item.type !== "snapshot") position = { revision: item.revision, storeId };
      }
      if (options.untilNow) return;
      throw new LeaseholdError("the server ended the stream", { reason: "UNSPECIFIED", code: "UNAVAILABLE" });
    } catch (thrown) {
      signal?.throwIfAborted();
      const error = asLeaseholdError(thrown);
      const anew = includeSnapshot && begunAnew.has(error.reason);
      if (!anew && !isTransient(error)) throw error;
      reached ||= !(error instanceof UnreachableError);
      if (!reached && performance.now() - begun > connectMs) throw error;
      if (anew || (includeSnapshot && told && position === undefined)) {
        if (told) yield { type: "restart", reason: error.reason, revision: 0n, storeId };
        position = undefined;
        told = false;
        storeId = "";
      }
      const pauseMs = pauseAfter(++failures, error);
      options.onRetry?.(error, pauseMs);
      await sleep(pauseMs, signal);
    }
  }
}

/** Whether a resumed stream's item was given out before; the marker of a snapshot that was not asked for says nothing. */
function isOldNews(item: WatchItem, revision: bigint): boolean {
  if (item.type === "event") return item.revision <= revision;
  return item.type !== "bookmark" || item.revision < revision;
}

function requestOf(options: WatchOptions, position: Position | undefined, storeId: string): WatchRequest {
  const fromRevision = position === undefined ? undefined : position.revision + 1n;
  return create(WatchRequestSchema, {
    repository: options.repository ?? "",
    holder: options.holder ?? "",
    host: options.host ?? "",
    workspaceId: options.workspaceId ?? "",
    leaseId: options.leaseId ?? "",
    kinds: (options.kinds ?? []).map((kind) => EventKind[kind]),
    ...(fromRevision !== undefined && { fromRevision }),
    includeSnapshot: (options.includeSnapshot ?? false) && position === undefined,
    untilNow: options.untilNow ?? false,
    storeId: fromRevision === undefined ? "" : storeId,
  });
}

/** One call's answers, ended when the stream falls silent, and cancelled when its reader leaves. */
async function* responses(
  service: RawClient<typeof WorkspaceService>,
  request: WatchRequest,
  signal: AbortSignal | undefined,
): AsyncGenerator<WatchResponse, void, undefined> {
  const call = new AbortController();
  const cancel = () => call.abort();
  signal?.addEventListener("abort", cancel, { once: true });
  let silent = false;
  const watchdog = () =>
    setTimeout(() => {
      silent = true;
      call.abort();
    }, silenceLimit);
  let timer = watchdog();
  try {
    for await (const response of service.watch(request, { signal: call.signal })) {
      // The reader's own time does not count as the server's silence.
      clearTimeout(timer);
      yield response;
      timer = watchdog();
    }
  } catch (error) {
    if (!silent) throw error;
    const facts = { reason: "UNSPECIFIED", code: "UNAVAILABLE", cause: error } as const;
    throw new LeaseholdError(`the stream was silent for ${silenceLimit} ms`, facts);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", cancel);
    call.abort();
  }
}

function itemOf(response: WatchResponse): WatchItem | undefined {
  const { revision, storeId, item } = response;
  switch (item.case) {
    case "snapshot":
      return { type: "snapshot", workspace: item.value, revision, storeId };
    case "snapshotEnd":
      return { type: "snapshotEnd", workspaces: item.value.workspaces, revision, storeId };
    case "event":
      return { type: "event", event: item.value, revision, storeId };
    case "bookmark":
      return { type: "bookmark", revision, storeId };
    default:
      return undefined;
  }
}
