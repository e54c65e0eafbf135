/** Owns how a message is framed in the streams of all protocols: a byte of flags, four of length, the message. */
import { Code, ConnectError } from "@connectrpc/connect";

const headBytes = 5;
const compressedFlag = 1;

/** The message, framed, without compression. */
export function enveloped(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(headBytes + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, headBytes);
  return frame;
}

/** Gathers the one message of a body. Its failures are those of connect's own reader, by code and text. */
export class EnvelopeReader {
  readonly #maxBytes: number;
  readonly #kind: string;
  #chunks: Buffer[] = [];
  #size = 0;
  /** Of the message; undefined until its head is there. */
  #length: number | undefined;

  /** `maxBytes`: of the message. `kind`: of the method, for the texts. */
  constructor(maxBytes: number, kind: string) {
    this.#maxBytes = maxBytes;
    this.#kind = kind;
  }

  /** Throws as soon as the message is known to be too large. */
  add(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    if (this.#length === undefined && this.#size >= headBytes) this.#length = this.#body().readUInt32BE(1);
    if (this.#length === undefined) return;
    if (this.#length > this.#maxBytes) {
      const text = `message size ${this.#length} is larger than configured readMaxBytes ${this.#maxBytes}`;
      throw new ConnectError(text, Code.ResourceExhausted);
    }
    if (this.#size > headBytes + this.#length) throw this.#unimplemented("received extra");
  }

  /** The message, after the body's end. */
  message(): Uint8Array {
    if (this.#size === 0) throw this.#unimplemented("missing");
    if (this.#length === undefined || this.#size < headBytes + this.#length) {
      throw new ConnectError("protocol error: incomplete envelope", Code.InvalidArgument);
    }
    const body = this.#body();
    if (((body[0] ?? 0) & compressedFlag) === compressedFlag) {
      const text = "received compressed envelope, but do not know how to decompress";
      throw new ConnectError(text, Code.Internal);
    }
    return body.subarray(headBytes);
  }

  #body(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks, this.#size)];
    return this.#chunks[0] ?? Buffer.alloc(0);
  }

  #unimplemented(what: string): ConnectError {
    return new ConnectError(`protocol error: ${what} input message for ${this.#kind} method`, Code.Unimplemented);
  }
}
