/**
 * Owns one call that is served directly: reading its message from the HTTP/2 stream and writing its answer there.
 *
 * Invariants:
 * 1. One message has to arrive within the limit, and a unary answer has to be taken within as long; else the stream ends.
 * 2. A peer that has gone, or never reads, leaves nobody waiting: whoever makes the answer is told to stop.
 * 3. The next piece of a stream is asked for only once there is room for it.
 */
import type { OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { Delivery } from "../call.js";
import { PeerGone } from "../http/node-response.js";
import type { DirectContext } from "./direct-context.js";
import { EnvelopeReader } from "./envelope.js";

export class DirectCall {
  readonly context: DirectContext;
  readonly delivery = new Delivery();
  readonly #stream: ServerHttp2Stream;
  readonly #limitMs: number;
  #limit: NodeJS.Timeout;
  #isEnding = false;
  #wake: (() => void) | undefined;

  constructor(stream: ServerHttp2Stream, context: DirectContext, limitMs: number) {
    this.#stream = stream;
    this.context = context;
    this.#limitMs = limitMs;
    this.#limit = this.#startLimit();
    // an error of a broken peer ends in `close` as well
    stream.on("error", () => {});
    stream.once("close", () => {
      clearTimeout(this.#limit);
      if (!this.#isEnding) context.abort(new ConnectError("the caller has gone", Code.Canceled));
      this.delivery.lost();
      this.#wake?.();
    });
  }

  /** The request's one message, when its body has ended. */
  message(maxBytes: number): Promise<Uint8Array> {
    const stream = this.#stream;
    const reader = new EnvelopeReader(maxBytes, this.context.method.methodKind.replace("_", "-"));
    return new Promise((resolve, reject) => {
      const attempt = (step: () => void) => {
        try {
          step();
        } catch (error) {
          stream.off("data", onData);
          reject(error);
        }
      };
      const onData = (chunk: Buffer) => attempt(() => reader.add(chunk));
      const onClose = () => reject(new ConnectError("the request broke off", Code.Canceled));
      stream.on("data", onData);
      stream.once("close", onClose);
      stream.once("end", () => {
        clearTimeout(this.#limit);
        stream.off("close", onClose);
        attempt(() => resolve(reader.message()));
      });
    });
  }

  /** Ends the call with one message. */
  answer(envelope: Uint8Array): void {
    if (this.#isGone) return;
    this.#head();
    clearTimeout(this.#limit);
    this.#limit = this.#startLimit();
    this.#write(envelope);
    this.#end();
  }

  /** Ends the call with an error, whatever of its answer was sent. */
  fail(error: ConnectError): void {
    if (this.#isGone || this.#isEnding) return;
    setTrailerStatus(this.context.responseTrailer, error);
    this.#head();
    this.#end();
  }

  /** Sends all pieces, then ends the call. Fails with what fails to make them, or PeerGone. */
  async send(pieces: AsyncIterable<Uint8Array>): Promise<void> {
    const iterator = pieces[Symbol.asyncIterator]();
    this.#stream.on("drain", () => this.#wake?.());
    try {
      for (let piece = await iterator.next(); ; piece = await iterator.next()) {
        this.#assertOpen();
        this.#head();
        if (piece.done) break;
        if (!this.#write(piece.value)) await new Promise<void>((resolve) => (this.#wake = resolve));
        this.#assertOpen();
      }
      this.#end();
    } catch (error) {
      // not awaited: a source that does not mind its signal must not hold the stream
      iterator.throw?.(error).catch(() => {});
      throw error;
    } finally {
      iterator.return?.().catch(() => {});
    }
  }

  get #isGone(): boolean {
    return this.#stream.destroyed || this.#stream.closed;
  }

  #assertOpen(): void {
    if (this.#isGone) throw new PeerGone();
  }

  /** With the first piece, so that a handler may still set headers. */
  #head(): void {
    const stream = this.#stream;
    if (stream.headersSent) return;
    const { responseHeader } = this.context;
    const head = { ":status": 200, "content-type": "application/grpc+proto", ...toNodeHeaders(responseHeader) };
    stream.respond(head, { waitForTrailers: true });
    stream.once("wantTrailers", () => {
      if (this.#isGone) return;
      const { responseTrailer } = this.context;
      if (!responseTrailer.has("grpc-status")) responseTrailer.set("grpc-status", "0");
      stream.sendTrailers(toNodeHeaders(responseTrailer));
    });
  }

  #write(piece: Uint8Array): boolean {
    return this.#stream.write(piece, (error) => {
      if (!error) this.delivery.written();
    });
  }

  #end(): void {
    this.#isEnding = true;
    this.#stream.end();
    // the rest of a body that was refused half read
    this.#stream.resume();
  }

  #startLimit(): NodeJS.Timeout {
    return setTimeout(() => this.#stream.destroy(), this.#limitMs).unref();
  }
}

function toNodeHeaders(header: Headers): OutgoingHttpHeaders {
  return Object.fromEntries(header.entries());
}
