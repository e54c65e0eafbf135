/** Owns an HTTP server in front of `git http-backend`, with basic authentication, for tests. */
import { spawn } from "node:child_process";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface GitHttpServerOptions {
  /** Directory whose repositories are served by their path below it. */
  readonly root: string;
  /** Wanted of every request, if given. */
  readonly login?: { readonly username: string; readonly password: string };
  /** Answers this status instead of serving. */
  readonly status?: number;
  /** Redirects to this base instead of serving. */
  readonly redirect?: string;
}

export class GitHttpServer {
  /** Requests so far, as `METHOD path`. */
  readonly requests: string[] = [];
  /** While it is set, nothing is served. */
  away = false;
  private readonly server: Server;

  private readonly options: GitHttpServerOptions;

  private constructor(options: GitHttpServerOptions) {
    this.options = options;
    this.server = createServer((request, response) => this.answer(request, response));
  }

  static async start(options: GitHttpServerOptions): Promise<GitHttpServer> {
    const server = new GitHttpServer(options);
    await new Promise<void>((resolve) => server.server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  url(path: string): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/${path}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const { login, status, root, redirect } = this.options;
    this.requests.push(`${request.method} ${request.url}`);
    if (redirect) return void response.writeHead(302, { location: `${redirect}${request.url}` }).end();
    if (this.away) return void response.writeHead(503).end("away");
    if (status !== undefined) return void response.writeHead(status).end("no");
    const wanted = login && `Basic ${Buffer.from(`${login.username}:${login.password}`).toString("base64")}`;
    if (wanted && request.headers.authorization !== wanted) {
      return void response.writeHead(401, { "www-authenticate": 'Basic realm="git"' }).end("who are you?");
    }
    const url = new URL(request.url ?? "/", "http://localhost");
    const backend = spawn("git", ["http-backend"], {
      env: {
        PATH: process.env.PATH,
        GIT_PROJECT_ROOT: root,
        GIT_HTTP_EXPORT_ALL: "1",
        GIT_CONFIG_NOSYSTEM: "1",
        HOME: "/nonexistent",
        PATH_INFO: decodeURIComponent(url.pathname),
        QUERY_STRING: url.search.slice(1),
        REQUEST_METHOD: request.method,
        CONTENT_TYPE: request.headers["content-type"] ?? "",
        HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
        REMOTE_USER: login?.username ?? "",
      },
      stdio: ["pipe", "pipe", "ignore"],
    });
    backend.stdin.on("error", () => {});
    request.pipe(backend.stdin);
    relay(backend.stdout, response);
  }
}

/** Turns CGI output, headers first, into an answer. */
function relay(output: NodeJS.ReadableStream, response: ServerResponse): void {
  let head: Buffer | undefined = Buffer.alloc(0);
  output.on("data", (chunk: Buffer) => {
    if (head === undefined) return void response.write(chunk);
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf("\r\n\r\n");
    if (end < 0) return;
    let status = 200;
    for (const line of head.toString("latin1", 0, end).split("\r\n")) {
      const colon = line.indexOf(":");
      const [name, value] = [line.slice(0, colon), line.slice(colon + 1).trim()];
      if (name.toLowerCase() === "status") status = Number.parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.writeHead(status);
    response.write(head.subarray(end + 4));
    head = undefined;
  });
  output.on("end", () => response.end());
}
