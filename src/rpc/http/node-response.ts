/**
 * Owns how an answer of connect is written to Node.
 *
 * Invariants:
 * 1. A peer that has gone, or never reads, leaves nobody waiting: whoever makes the answer is told to stop.
 *    Node 20's generators do not notice by themselves.
 * 2. One chunk is asked for at a time, and the next only once the last has left: a slow reader costs one message.
 */
import type { OutgoingHttpHeaders } from "node:http";
import type { UniversalServerResponse } from "@connectrpc/connect/protocol";
import type { Delivery } from "../call.js";
import type { NodeResponse } from "./listener.js";

/** Whether nobody can read the answer any more. That of HTTP/2 does not tell by itself. */
export function isGone(response: NodeResponse): boolean {
  return "stream" in response ? response.stream.destroyed : response.destroyed;
}

/** Thrown to whoever makes an answer that nobody reads any more. */
export class PeerGone extends Error {
  override readonly name = "PeerGone";

  constructor() {
    super("the peer closed the stream");
  }
}

export async function writeResponse(
  answer: UniversalServerResponse,
  response: NodeResponse,
  delivery: Delivery,
): Promise<void> {
  const writer = new ResponseWriter(response, delivery);
  const chunks = answer.body?.[Symbol.asyncIterator]();
  try {
    // the head waits for the first chunk, so that a handler may still set headers
    let chunk = chunks ? await chunks.next() : undefined;
    writer.head(answer.status, answer.header);
    while (chunk && !chunk.done) {
      await writer.write(chunk.value);
      chunk = await chunks?.next();
    }
    writer.end(answer.trailer);
  } catch (error) {
    // not awaited: a source that does not mind its signal must not hold the socket
    chunks?.throw?.(error).catch(() => {});
    throw error;
  } finally {
    chunks?.return?.().catch(() => {});
  }
}

class ResponseWriter {
  readonly #response: NodeResponse;
  readonly #delivery: Delivery;
  #isClosed: boolean;
  #wake: (() => void) | undefined;

  constructor(response: NodeResponse, delivery: Delivery) {
    this.#response = response;
    this.#delivery = delivery;
    this.#isClosed = isGone(response);
    response.once("close", () => {
      this.#isClosed = true;
      this.#wake?.();
    });
    response.on("drain", () => this.#wake?.());
  }

  head(status: number, header: Headers | undefined): void {
    this.#assertOpen();
    this.#response.writeHead(status, toNodeHeaders(header));
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#assertOpen();
    // both kinds of response have this signature, but not as one type
    const { write } = this.#response as { write(chunk: Uint8Array, written: (error?: Error | null) => void): boolean };
    const hasRoom = write.call(this.#response, chunk, (error) => {
      if (!error) this.#delivery.written();
    });
    if (!hasRoom && !this.#isClosed) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#assertOpen();
  }

  end(trailer: Headers | undefined): void {
    this.#assertOpen();
    if (trailer) this.#response.addTrailers(toNodeHeaders(trailer) as Record<string, string>);
    this.#response.end();
  }

  #assertOpen(): void {
    if (this.#isClosed || isGone(this.#response)) throw new PeerGone();
  }
}

function toNodeHeaders(header: Headers | undefined): OutgoingHttpHeaders {
  return header ? Object.fromEntries(header.entries()) : {};
}
