/**
 * Owns: a git server over loopback HTTP with Git LFS beside: the batch API and basic transfers, as its specification has
 * them, and the ways in which it can go wrong.
 */
import { createHash } from "node:crypto";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import { serveGit } from "./git-http.js";

export interface LfsOptions {
  readonly user?: string;
  readonly password?: string;
  /** Downloads are answered by a redirect to this base. */
  readonly downloadsAt?: string;
  /** The batch request itself is. */
  readonly batchAt?: string;
  /** Every LFS request is answered with this status. */
  readonly status?: number;
  /** What is served instead of a content. */
  readonly instead?: (content: Buffer) => Buffer;
}

export interface LfsServer {
  /** Of a bare repository below the root. */
  url(name: string): string;
  readonly origin: string;
  /** Makes it an object; answers its pointer. */
  add(content: string | Buffer): string;
  remove(content: string): void;
  /** LFS requests so far: method, path, authorization. */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

export function pointerOf(content: string | Buffer): string {
  const oid = createHash("sha256").update(content).digest("hex");
  return `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${Buffer.byteLength(content)}\n`;
}

export async function serveLfs(root: string, options: LfsOptions = {}): Promise<LfsServer> {
  const { user = "", password, downloadsAt, batchAt, status, instead } = options;
  const git = await serveGit(root, options);
  const objects = new Map<string, Buffer>();
  const requests: string[] = [];
  const wanted = `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "", "http://localhost");
    const isLfs = pathname.includes("/info/lfs/") || pathname.startsWith("/download/");
    if (!isLfs) return forward(git.url(""), request, response);
    requests.push(`${request.method} ${pathname} ${request.headers.authorization ?? "-"}`);
    const end = (code: number, headers: http.OutgoingHttpHeaders = {}, body: string | Buffer = "") =>
      void request.resume().on("end", () => response.writeHead(code, headers).end(body));
    if (status !== undefined) return end(status);
    const isBatch = pathname.endsWith("/objects/batch");
    if (password !== undefined && request.headers.authorization !== wanted) return end(401);
    if (isBatch && batchAt) return end(307, { location: `${batchAt}${pathname}` });
    if (!isBatch && downloadsAt) return end(302, { location: `${downloadsAt}${pathname}` });
    if (!isBatch) {
      const content = objects.get(pathname.split("/").at(-1) ?? "");
      return content ? end(200, {}, instead ? instead(content) : content) : end(404);
    }
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const asked = JSON.parse(Buffer.concat(parts).toString()) as { objects: { oid: string; size: number }[] };
      const answer = asked.objects.map(({ oid, size }) => {
        const download = { href: `${origin()}/download/${oid}`, header: { "x-token": "of the download" } };
        return objects.has(oid)
          ? { oid, size, actions: { download } }
          : { oid, size, error: { code: 404, message: "not there" } };
      });
      response.writeHead(200, { "content-type": "application/vnd.git-lfs+json" });
      response.end(JSON.stringify({ transfer: "basic", objects: answer }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: (name) => `${origin()}/${name}.git`,
    origin: origin(),
    add: (content) => {
      const bytes = Buffer.from(content);
      objects.set(createHash("sha256").update(bytes).digest("hex"), bytes);
      return pointerOf(bytes);
    },
    remove: (content) => void objects.delete(createHash("sha256").update(content).digest("hex")),
    requests,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await git.close();
    },
  };
}

function forward(to: string, request: http.IncomingMessage, response: http.ServerResponse): void {
  const { port } = new URL(to);
  const { method, url, headers } = request;
  const onward = http.request({ host: "127.0.0.1", port, method, path: url, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 500, answer.headers);
    answer.pipe(response);
  });
  onward.on("error", () => response.destroy());
  request.pipe(onward);
}
