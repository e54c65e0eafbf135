/**
 * Owns reading the body of a plain request, up to a limit.
 *
 * Invariants:
 * 1. No body is kept beyond its limit, nor all bodies of one moment together beyond theirs.
 * 2. Of a body that is refused, little more is taken, so that the peer can read the answer; then its connection ends.
 */
import type { NodeRequest, NodeResponse } from "./listener.js";

/** All times in milliseconds. */
export interface BodyLimits {
  readonly maxBytes: number;
  /** Of all bodies that are being read or worked on. */
  readonly maxTotalBytes: number;
  /** What is taken and thrown away of a body that is refused, and for how long. */
  readonly maxWastedBytes: number;
  readonly wasteMs: number;
}

export type Body =
  | { readonly kind: "body"; readonly bytes: Uint8Array }
  | { readonly kind: "too-large" }
  /** All bodies together would be too much. */
  | { readonly kind: "busy" }
  /** The peer is. */
  | { readonly kind: "gone" };

export class BodyReader {
  readonly #limits: BodyLimits;
  #held = 0;

  constructor(limits: BodyLimits) {
    this.#limits = limits;
  }

  /** Reads the body and calls `use` with it; it counts as held until that has resolved. */
  async with<T>(request: NodeRequest, use: (body: Body) => Promise<T>): Promise<T> {
    let held = 0;
    const hold = (bytes: number) => {
      held += bytes;
      this.#held += bytes;
    };
    try {
      return await use(await this.#read(request, hold));
    } finally {
      hold(-held);
    }
  }

  #read(request: NodeRequest, hold: (bytes: number) => void): Promise<Body> {
    const { maxBytes, maxTotalBytes } = this.#limits;
    if (Number(request.headers["content-length"] ?? 0) > maxBytes) return Promise.resolve({ kind: "too-large" });
    return new Promise((resolve) => {
      const chunks: Buffer[] = [];
      let length = 0;
      const settle = (body: Body) => {
        request.off("data", onData);
        request.off("end", onEnd);
        request.off("close", onClose);
        resolve(body);
      };
      const onData = (chunk: Buffer) => {
        length += chunk.length;
        hold(chunk.length);
        chunks.push(chunk);
        if (length > maxBytes) settle({ kind: "too-large" });
        else if (this.#held > maxTotalBytes) settle({ kind: "busy" });
      };
      const onEnd = () => settle({ kind: "body", bytes: Buffer.concat(chunks, length) });
      const onClose = () => settle({ kind: "gone" });
      request.on("data", onData);
      request.on("end", onEnd);
      request.on("close", onClose);
    });
  }

  /** Invariant 2: to be called before a request is answered whose body may not have been read to its end. */
  waste(request: NodeRequest, response: NodeResponse): void {
    const { maxWastedBytes, wasteMs } = this.#limits;
    if (request.complete || request.destroyed) return;
    // Node would end the connection with the answer, and with it what the peer has not read of that
    const isLast = "shouldKeepAlive" in response && !response.shouldKeepAlive;
    if ("shouldKeepAlive" in response) response.shouldKeepAlive = true;
    let wasted = 0;
    const cut = () => ("stream" in response ? response.stream?.close(0) : request.socket.destroy());
    const timer = setTimeout(cut, wasteMs).unref();
    request.on("data", (chunk: Buffer) => {
      wasted += chunk.length;
      if (wasted > maxWastedBytes) cut();
    });
    request.once("end", () => {
      clearTimeout(timer);
      if (isLast) request.socket.end();
    });
    request.once("close", () => clearTimeout(timer));
    request.resume();
  }
}
