/**
 * Owns: a git server over HTTP on a loopback port, from the real `git http-backend`, that counts what it is asked,
 * wants a password if told so, and can be made to hang or to refuse.
 */
import { spawn } from "node:child_process";
import * as http from "node:http";
import * as net from "node:net";
import { gitEnvironment } from "./upstream.js";

export interface GitHttp {
  /** `http://127.0.0.1:PORT/<name>.git` of a bare repository below the root. */
  url(name: string): string;
  /** How often the refs of a repository were asked for: once for every fetch and clone. */
  asked(name: string): number;
  /** From now on requests are answered with this status; 0: served. */
  refuseWith(status: number): void;
  /** From now on requests are not answered until `release` is called. */
  hold(): void;
  release(): void;
  close(): Promise<void>;
}

export interface GitHttpOptions {
  readonly user?: string;
  readonly password?: string;
}

/** Serves all bare repositories below `root`. */
export async function serveGit(root: string, options: GitHttpOptions = {}): Promise<GitHttp> {
  const asked = new Map<string, number>();
  let status = 0;
  let held: Promise<void> | undefined;
  let release = () => {};
  const { user = "", password } = options;
  const wanted = `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
  const server = http.createServer(async (request, response) => {
    const { pathname, search } = new URL(request.url ?? "", "http://localhost");
    const name = pathname.split("/")[1] ?? "";
    if (pathname.endsWith("/info/refs")) asked.set(name, (asked.get(name) ?? 0) + 1);
    await held;
    if (status !== 0) return void response.writeHead(status).end();
    if (password !== undefined && request.headers.authorization !== wanted) {
      return void response.writeHead(401, { "www-authenticate": 'Basic realm="git"' }).end();
    }
    runBackend(root, pathname, search.slice(1), request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  return {
    url: (name) => `http://127.0.0.1:${port}/${name}.git`,
    asked: (name) => asked.get(`${name}.git`) ?? 0,
    refuseWith: (code) => {
      status = code;
    },
    hold: () => {
      held = new Promise((resolve) => (release = resolve));
    },
    release: () => {
      held = undefined;
      release();
    },
    close: async () => {
      release();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function runBackend(
  root: string,
  path: string,
  query: string,
  request: http.IncomingMessage,
  response: http.ServerResponse,
): void {
  const child = spawn("git", ["http-backend"], {
    env: {
      ...gitEnvironment,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: "1",
      PATH_INFO: path,
      QUERY_STRING: query,
      REQUEST_METHOD: request.method,
      CONTENT_TYPE: request.headers["content-type"] ?? "",
      HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
      REMOTE_USER: "holder",
    },
    stdio: ["pipe", "pipe", "ignore"],
  });
  child.stdin.on("error", () => {});
  request.pipe(child.stdin);
  response.on("close", () => child.kill());
  let head = Buffer.alloc(0);
  const onData = (chunk: Buffer) => {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf("\r\n\r\n");
    if (end < 0) return;
    child.stdout.off("data", onData);
    const headers = head
      .toString("latin1", 0, end)
      .split("\r\n")
      .map((line) => line.split(/: (.*)/s));
    const status = headers.find(([key]) => key === "Status")?.[1] ?? "200";
    response.writeHead(
      Number.parseInt(status, 10),
      headers.flatMap(([key = "", value = ""]) => [key, value]),
    );
    response.write(head.subarray(end + 4));
    child.stdout.pipe(response);
  };
  child.stdout.on("data", onData);
}

/** A TCP port that accepts and never says a word. */
export async function listenSilently(): Promise<{ readonly port: number; close(): void }> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** A port on which nobody listens. */
export async function deadPort(): Promise<number> {
  const { port, close } = await listenSilently();
  close();
  return port;
}
