/**
 * Owns one Watch stream and what it was sent.
 *
 * Invariant: of a message only its revision and its kind are read, so that 500 of these are no load of their own.
 */
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { WorkspaceService } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { RpcClient } from "./rpc-client.js";

export interface Delivery {
  readonly revision: number;
  /** `Date.now()` at its arrival. */
  readonly at: number;
}

/** Field numbers of WatchResponse. */
const field = { revision: 1, snapshotEnd: 4, event: 5 } as const;

export class Watcher {
  readonly deliveries: Delivery[] = [];
  /** Resolves when events are being sent. */
  readonly ready: Promise<void>;
  /** Newest revision of an event, or where the stream began. */
  newest = 0;
  #begin = 0;
  readonly stop: () => void;

  constructor(client: RpcClient) {
    let begun = () => {};
    let failed = (_error: Error) => {};
    this.ready = new Promise((resolve, reject) => {
      begun = resolve;
      failed = reject;
    });
    this.stop = client.stream(
      WorkspaceService.method.watch,
      {},
      (bytes) => {
        const { revision, kind } = skim(bytes);
        if (kind === field.event) this.deliveries.push({ revision, at: Date.now() });
        if (kind === field.event) this.newest = revision;
        if (kind !== field.snapshotEnd) return;
        this.#begin = revision;
        this.newest = revision;
        begun();
      },
      failed,
    );
  }

  /** How many events up to `newest` did not come, or came out of order. */
  lost(newest: number): number {
    let next = this.#begin + 1;
    let inOrder = 0;
    for (const { revision } of this.deliveries) {
      if (revision !== next) continue;
      inOrder++;
      next++;
    }
    return newest - this.#begin - inOrder;
  }
}

function skim(bytes: Buffer): { readonly revision: number; readonly kind: number } {
  const reader = new BinaryReader(bytes);
  let revision = 0;
  let kind = 0;
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (number === field.revision) revision = Number(reader.int64());
    else {
      kind = Math.max(kind, number);
      reader.skip(type, number);
    }
  }
  return { revision, kind };
}
