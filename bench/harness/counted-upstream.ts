/**
 * Owns an upstream over smart HTTP that counts how often it is asked for its refs: what a fetch is, seen from outside.
 *
 * It reads only; `git upload-pack` answers.
 */
import { spawn } from "node:child_process";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createGunzip } from "node:zlib";
import { gitEnvironment } from "./git-command.js";

export class CountedUpstream {
  readonly url: string;
  /** How often the refs were asked for. */
  fetches = 0;
  readonly #server: Server;
  readonly #path: string;

  private constructor(server: Server, path: string) {
    this.#server = server;
    this.#path = path;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/counted.git`;
  }

  /** Serves the bare repository at `path`. */
  static async start(path: string): Promise<CountedUpstream> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const upstream = new CountedUpstream(server, path);
    server.on("request", (request, response) => upstream.#answer(request, response));
    return upstream;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? "/", this.url);
    if (pathname === "/counted.git/info/refs" && searchParams.get("service") === "git-upload-pack") {
      this.fetches++;
      response.setHeader("content-type", "application/x-git-upload-pack-advertisement");
      response.write("001e# service=git-upload-pack\n0000");
      this.#uploadPack(["--advertise-refs"], request, response);
    } else if (pathname === "/counted.git/git-upload-pack" && request.method === "POST") {
      response.setHeader("content-type", "application/x-git-upload-pack-result");
      this.#uploadPack([], request, response);
    } else response.writeHead(404).end();
  }

  #uploadPack(args: readonly string[], request: IncomingMessage, response: ServerResponse): void {
    const all = ["-c", "safe.directory=*", "upload-pack", "--stateless-rpc", ...args, this.#path];
    const child = spawn("git", all, { env: gitEnvironment, stdio: ["pipe", "pipe", "ignore"] });
    child.once("error", () => response.destroy());
    // the other side may have gone
    child.stdin.on("error", () => {});
    const body = request.headers["content-encoding"] === "gzip" ? request.pipe(createGunzip()) : request;
    body.pipe(child.stdin);
    child.stdout.pipe(response);
  }
}
