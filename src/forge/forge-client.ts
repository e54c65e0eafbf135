/**
 * Owns the requests to one forge.
 *
 * Invariants:
 * 1. One request at a time, and their beginnings are at least `apartMs` apart, redirects included.
 * 2. While the forge wants to be left alone for longer than `patienceMs`, nothing is asked: the answer is UNKNOWN at once.
 * 3. The token goes to the origin of the API and nowhere else: a redirect to another one is not followed.
 * 4. No text of the forge, and no secret, is in what is answered.
 */

import { isRecord } from "../domain/record.js";
import type { Subject } from "../domain/subject.js";
import type { SubjectAnswer } from "../ports/forges.js";
import { boundedText } from "./bounded-body.js";
import type { Clock } from "./clock.js";
import { restMs } from "./rate-limit.js";
import type { ForgeReader, KnownState } from "./reader.js";
import type { SecretFile } from "./secret.js";

/** All times in milliseconds. */
export interface RequestLimits {
  readonly apartMs: number;
  readonly timeoutMs: number;
  /** How long a forge may want to be left alone for a question to wait for it. */
  readonly patienceMs: number;
  readonly maxBytes: number;
  /** Answers that are kept with their ETags. */
  readonly maxKept: number;
}

export const defaultLimits: RequestLimits = {
  apartMs: 200,
  timeoutMs: 10_000,
  patienceMs: 10_000,
  maxBytes: 1024 * 1024,
  maxKept: 10_000,
};

const maxRedirects = 3;
const timeout = new DOMException("the time is over", "TimeoutError");

interface Received {
  readonly status: number;
  /** Undefined: there was too much of it. */
  readonly text: string | undefined;
  readonly etag: string | null;
  readonly location: string | null;
  /** The answer said that the forge wants to be left alone. */
  readonly isRested: boolean;
}

type Reply = { readonly kind: "answer"; readonly answer: SubjectAnswer } | { readonly kind: "later" };

export class ForgeClient {
  readonly #reader: ForgeReader;
  readonly #apiUrl: string;
  readonly #token: SecretFile | undefined;
  readonly #limits: RequestLimits;
  readonly #clock: Clock;
  /** By URL, the oldest first. */
  readonly #kept = new Map<string, { readonly etag: string; readonly state: KnownState }>();
  #last: Promise<unknown> = Promise.resolve();
  #startedAt = Number.NEGATIVE_INFINITY;
  #restUntil = Number.NEGATIVE_INFINITY;

  constructor(
    reader: ForgeReader,
    forge: { readonly apiUrl: string; readonly token: SecretFile | undefined },
    limits: RequestLimits,
    clock: Clock,
  ) {
    this.#reader = reader;
    this.#apiUrl = forge.apiUrl;
    this.#token = forge.token;
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Never rejects. */
  state(subject: Subject, signal: AbortSignal | undefined): Promise<SubjectAnswer> {
    if (!isPlainProject(subject.project)) return Promise.resolve(unknown("this is no path of a project", false));
    const refused = this.#refusal();
    if (refused) return Promise.resolve(refused);
    const answer = this.#last.then(() => this.#ask(subject, signal));
    this.#last = answer;
    return signal ? untilGone(answer, signal) : answer;
  }

  async #ask(subject: Subject, signal: AbortSignal | undefined): Promise<SubjectAnswer> {
    try {
      for (let attempt = 1; attempt <= 2; attempt++) {
        const reply = await this.#request(subject, signal);
        if (reply.kind === "answer") return reply.answer;
      }
      return this.#refusal() ?? unknown("the forge wants to be asked later, again and again", true);
    } catch (error) {
      return unknown(signal?.aborted ? "nobody waits for the answer any more" : reasonOf(error), true);
    }
  }

  /** Invariant 2. */
  #refusal(): SubjectAnswer | undefined {
    const rest = this.#restUntil - this.#clock.now();
    if (rest <= this.#limits.patienceMs) return undefined;
    return unknown(`the forge wants to be asked again in ${Math.ceil(rest / 1_000)} s at the earliest`, true);
  }

  async #request(subject: Subject, signal: AbortSignal | undefined): Promise<Reply> {
    let url = new URL(`${this.#apiUrl}${this.#reader.path(subject)}`);
    for (let hop = 0; hop <= maxRedirects; hop++) {
      const refused = await this.#turn(signal);
      if (refused) return { kind: "answer", answer: refused };
      const received = await this.#exchange(url, signal);
      const { status, location } = received;
      if (![301, 302, 303, 307, 308].includes(status) || !location) return this.#read(url, received, subject);
      if (!URL.canParse(location, url.href)) return answered("the forge redirects to what is no URL");
      const next = new URL(location, url);
      if (next.origin !== url.origin) return answered("the forge redirects to another origin");
      url = next;
    }
    return answered("the forge redirects without end");
  }

  /** Invariants 1 and 2: resolves when a request may begin. */
  async #turn(signal: AbortSignal | undefined): Promise<SubjectAnswer | undefined> {
    for (;;) {
      signal?.throwIfAborted();
      const refused = this.#refusal();
      if (refused) return refused;
      const now = this.#clock.now();
      const wait = Math.max(this.#startedAt + this.#limits.apartMs, this.#restUntil) - now;
      if (wait <= 0) {
        this.#startedAt = now;
        return undefined;
      }
      await this.#clock.pause(wait, signal);
    }
  }

  /** The whole of it has the same time limit. A body is read of an answer that has one to read. */
  async #exchange(url: URL, signal: AbortSignal | undefined): Promise<Received> {
    const ending = new AbortController();
    const timer = setTimeout(() => ending.abort(timeout), this.#limits.timeoutMs);
    const onGone = () => ending.abort(signal?.reason);
    signal?.addEventListener("abort", onGone, { once: true });
    try {
      const response = await this.#send(url, ending.signal);
      const { status, headers } = response;
      const rest = restMs(status, headers, this.#clock.wall());
      if (rest > 0) this.#restUntil = Math.max(this.#restUntil, this.#clock.now() + rest);
      const text = status === 200 ? await boundedText(response, this.#limits.maxBytes) : "";
      return { status, text, etag: headers.get("etag"), location: headers.get("location"), isRested: rest > 0 };
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onGone);
      // what was not read of the body is not waited for
      ending.abort();
    }
  }

  async #send(url: URL, signal: AbortSignal): Promise<Response> {
    const token = await this.#token?.read();
    const etag = this.#kept.get(url.href)?.etag;
    const headers = {
      ...this.#reader.headers,
      "user-agent": "leasehold",
      ...(token === undefined ? {} : this.#reader.authentication(token)),
      ...(etag === undefined ? {} : { "if-none-match": etag }),
    };
    return fetch(url.href, { headers, redirect: "manual", signal });
  }

  #read(url: URL, { status, text, etag, isRested }: Received, subject: Subject): Reply {
    if (status === 200) {
      if (text === undefined) return answered(`the forge's answer has more than ${this.#limits.maxBytes} bytes`);
      const body = parsed(text);
      const state = isRecord(body) ? this.#reader.state(body, subject) : undefined;
      if (!state) return answered("the forge's answer is not one of its API");
      this.#keep(url, etag, state);
      return { kind: "answer", answer: { state, problem: "", failed: false } };
    }
    const kept = this.#kept.get(url.href);
    if (status === 304 && kept) {
      this.#keep(url, kept.etag, kept.state);
      return { kind: "answer", answer: { state: kept.state, problem: "", failed: false } };
    }
    if (status === 404 || status === 410) {
      return {
        kind: "answer",
        answer: unknown("the forge has none of this, or does not show it to this token", false),
      };
    }
    if (isRested && [403, 429, 503].includes(status)) return { kind: "later" };
    return answered(`the forge answered ${status}${status === 401 || status === 403 ? ": it refuses the token" : ""}`);
  }

  #keep(url: URL, etag: string | null, state: KnownState): void {
    this.#kept.delete(url.href);
    if (!etag || etag.length > 512) return;
    this.#kept.set(url.href, { etag, state });
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= this.#limits.maxKept) break;
      this.#kept.delete(oldest);
    }
  }
}

export function unknown(problem: string, failed: boolean): SubjectAnswer {
  return { state: "UNKNOWN", problem, failed };
}

function answered(problem: string): Reply {
  return { kind: "answer", answer: unknown(problem, true) };
}

/** Segments that mean another place would lead out of the project's own part of the API. */
function isPlainProject(project: string): boolean {
  return (
    project.length <= 512 && project.split("/").every((part) => /^[^\s?#%\\]+$/.test(part) && !/^\.{1,2}$/.test(part))
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function untilGone(answer: Promise<SubjectAnswer>, signal: AbortSignal): Promise<SubjectAnswer> {
  return new Promise((resolve) => {
    const onGone = () => resolve(unknown("nobody waits for the answer any more", true));
    if (signal.aborted) onGone();
    else signal.addEventListener("abort", onGone, { once: true });
    void answer.then((known) => {
      signal.removeEventListener("abort", onGone);
      resolve(known);
    });
  });
}

/** Invariant 4: words of our own, and a code of the system's. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "the forge could not be asked";
  if (error.name === "TimeoutError") return "the forge did not answer in time";
  const { code } = (error.cause ?? error) as NodeJS.ErrnoException;
  if (typeof code === "string" && /^[A-Z_]{1,40}$/.test(code)) return `the forge could not be reached: ${code}`;
  return "the forge could not be asked, or its token could not be read";
}
