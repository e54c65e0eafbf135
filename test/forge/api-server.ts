/**
 * Owns a forge's API on loopback, for tests: it answers as its documentation says, or as badly as it is told to.
 *
 * Sources: docs.github.com/rest (issues, pulls, rate limits), docs.gitlab.com/api (issues, merge_requests, rate limits), and
 * the swagger of Gitea and Forgejo (repoGetIssue, repoGetPullRequest).
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Asked {
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  /** By the clock of the test, when it had arrived. */
  readonly time: number;
}

export type Answering = (response: ServerResponse, request: IncomingMessage) => void;

export class ApiServer {
  readonly asked: Asked[] = [];
  /** By path; what is not there is 404. */
  readonly answers = new Map<string, Answering>();
  /** Most requests that were answered at one time. */
  mostAtOnce = 0;
  #atOnce = 0;
  readonly #server: Server;

  private constructor(now: () => number) {
    this.#server = createServer((request, response) => {
      this.asked.push({ path: request.url ?? "", headers: request.headers, time: now() });
      this.#atOnce++;
      this.mostAtOnce = Math.max(this.mostAtOnce, this.#atOnce);
      response.once("close", () => this.#atOnce--);
      const answer = this.answers.get(request.url ?? "") ?? status(404, { message: "Not Found" });
      answer(response, request);
    });
  }

  static async start(now: () => number = () => performance.now()): Promise<ApiServer> {
    const api = new ApiServer(now);
    await new Promise<void>((resolve) => api.#server.listen(0, "127.0.0.1", resolve));
    return api;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

export function status(code: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Answering {
  return (response) => {
    response.writeHead(code, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(body));
  };
}

/** Each in its turn, the last for ever. */
export function inTurn(...answers: readonly Answering[]): Answering {
  let next = 0;
  return (response, request) => answers[Math.min(next++, answers.length - 1)]?.(response, request);
}

/** An answer of its own ETag, and 304 to who has it. */
export function tagged(etag: string, body: unknown): Answering {
  return (response, request) => {
    if (request.headers["if-none-match"] === etag) response.writeHead(304, { etag }).end();
    else status(200, body, { etag })(response, request);
  };
}

/** What each kind says of an issue and of a pull request, as far as its documentation has it and it matters. */
export const bodies = {
  gitea: {
    issue: (state: string, isMerged?: boolean) => ({
      ...{ id: 1, number: 7, title: "t", state, html_url: "http://forge/o/n/issues/7" },
      closed_at: state === "closed" ? "2026-11-20T10:00:00Z" : null,
      pull_request:
        isMerged === undefined ? null : { merged: isMerged, merged_at: isMerged ? "2026-11-20T10:00:00Z" : null },
    }),
    pull: (state: string, merged: boolean) => ({
      id: 1,
      number: 7,
      state,
      merged,
      merged_at: merged ? "2026-11-20T10:00:00Z" : null,
    }),
  },
  github: {
    issue: (state: string, isMerged?: boolean) => ({
      ...{ id: 1, number: 7, title: "t", state, state_reason: state === "closed" ? "completed" : null },
      ...(isMerged === undefined
        ? {}
        : { pull_request: { url: "u", merged_at: isMerged ? "2026-11-20T10:00:00Z" : null } }),
    }),
    pull: (state: string, merged: boolean) => ({
      id: 1,
      number: 7,
      state,
      merged,
      merged_at: merged ? "2026-11-20T10:00:00Z" : null,
    }),
  },
  gitlab: {
    issue: (state: string) => ({ id: 1, iid: 7, project_id: 3, state, closed_at: null }),
    pull: (state: string) => ({ id: 1, iid: 7, project_id: 3, state, merged_at: null }),
  },
} as const;
