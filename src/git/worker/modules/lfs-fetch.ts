/**
 * Owns bringing contents of Git LFS into a mirror: the batch API with basic transfers, or a directory of this machine.
 *
 * Invariants:
 * 1. The credential is sent to the scheme, host and port of the upstream alone, and never after a redirect elsewhere. What
 *    the server gives for a download is sent to that download's host alone.
 * 2. A content is stored only if it has the size and the SHA-256 that its pointer names; nothing longer is read.
 * 3. What is stored was written beside its place, synced and renamed; a kill leaves nothing under a name that is believed.
 */
import { createHash, randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  createReadStream,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { LfsObject } from "../../../domain/lfs.js";
import type { FetchLfsJob } from "../../protocol.js";
import { WorkerFault } from "../files/fault.js";
import { isFile } from "../files/place.js";
import { hasLfsObject, lfsPath } from "./lfs-store.js";

const mediaType = "application/vnd.git-lfs+json";
const objectsAtOnce = 100;
const mostRedirects = 5;
/** Bytes of an answer of the batch API. */
const longestAnswer = 16 * 1024 * 1024;

interface Download {
  readonly href: string;
  readonly header: Readonly<Record<string, string>>;
}

export async function fetchLfs(job: FetchLfsJob): Promise<void> {
  const { mirror, source } = job;
  const missing = job.objects.filter((object) => !hasLfsObject(mirror, object));
  const staging = join(mirror, "lfs", "incoming");
  rmSync(staging, { recursive: true, force: true });
  if (missing.length === 0) return;
  mkdirSync(staging, { recursive: true });
  try {
    for (let at = 0; at < missing.length; at += objectsAtOnce) {
      const some = missing.slice(at, at + objectsAtOnce);
      if (source.kind === "local")
        for (const object of some) await store(mirror, staging, object, fromDisk(source.path, object));
      else {
        const downloads = await askBatch(source.url, job, some);
        for (const object of some) {
          const download = downloads.get(object.oid);
          if (!download) throw missingObject(object);
          await store(mirror, staging, object, () => body(download, source.url, job));
        }
      }
    }
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

function missingObject({ oid }: LfsObject): WorkerFault {
  return new WorkerFault("upstream-unavailable", `the upstream does not have the Git LFS object ${oid}`);
}

/** Where git-lfs itself looks in a repository of this machine. */
function fromDisk(upstream: string, object: LfsObject): () => Promise<AsyncIterable<Uint8Array>> {
  return async () => {
    const found = [join(upstream, ".git"), upstream, `${upstream}.git`]
      .map((git) => lfsPath(git, object.oid))
      .find(isFile);
    if (found === undefined) throw missingObject(object);
    return createReadStream(found);
  };
}

/** What the server offers for each object. */
async function askBatch(url: string, job: FetchLfsJob, objects: readonly LfsObject[]): Promise<Map<string, Download>> {
  const request = {
    operation: "download",
    transfers: ["basic"],
    hash_algo: "sha256",
    objects: objects.map(({ oid, size }) => ({ oid, size })),
  };
  const response = await send(`${url}/objects/batch`, url, job, {
    method: "POST",
    headers: { accept: mediaType, "content-type": mediaType },
    body: JSON.stringify(request),
  });
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response) {
    length += part.length;
    if (length > longestAnswer) throw unavailable("its Git LFS answer is too long");
    parts.push(part);
  }
  const downloads = new Map<string, Download>();
  for (const entry of listed(Buffer.concat(parts).toString("utf8"))) {
    const { oid, error, actions } = entry as {
      oid?: unknown;
      error?: { code?: unknown };
      actions?: { download?: { href?: unknown; header?: unknown } };
    };
    if (typeof oid !== "string") continue;
    if (error)
      throw error.code === 403
        ? new WorkerFault("upstream-denied", "Git LFS: authentication failed")
        : missingObject({ oid: oid.replace(/[^0-9a-f]/g, ""), size: 0 });
    const href = actions?.download?.href;
    if (typeof href !== "string") continue;
    const header = Object.entries(actions?.download?.header ?? {}).filter(
      (pair): pair is [string, string] => typeof pair[1] === "string",
    );
    downloads.set(oid, { href: new URL(href, url).href, header: Object.fromEntries(header) });
  }
  return downloads;
}

function listed(text: string): readonly unknown[] {
  try {
    const { objects } = JSON.parse(text) as { objects?: unknown };
    if (Array.isArray(objects)) return objects;
  } catch {
    // told below
  }
  throw unavailable("its Git LFS answer makes no sense");
}

function body({ href, header }: Download, endpoint: string, job: FetchLfsJob): Promise<AsyncIterable<Uint8Array>> {
  return send(href, endpoint, job, { method: "GET", headers: header });
}

/** Invariant 1. Follows redirects itself: fetch would take headers along. */
async function send(
  href: string,
  endpoint: string,
  { credential }: FetchLfsJob,
  request: { readonly method: string; readonly headers: Readonly<Record<string, string>>; readonly body?: string },
): Promise<AsyncIterable<Uint8Array>> {
  const own = new URL(endpoint).origin;
  const first = new URL(href).origin;
  let url = new URL(href);
  for (let redirects = 0; redirects <= mostRedirects; redirects++) {
    const isWeb = url.protocol === "https:" || (url.protocol === "http:" && own.startsWith("http:"));
    if (!isWeb || url.username || url.password) throw unavailable("Git LFS leads to a URL that is not allowed");
    // what may change something, or carries what was asked, goes to the upstream's host alone
    if (request.method !== "GET" && url.origin !== own) throw unavailable("its Git LFS redirects to another host");
    const headers = new Headers(url.origin === first ? { ...request.headers } : {});
    if (url.origin === own && credential?.password !== undefined && !headers.has("authorization")) {
      const login = `${credential.username ?? "git"}:${credential.password}`;
      headers.set("authorization", `Basic ${Buffer.from(login).toString("base64")}`);
    }
    headers.set("accept-encoding", "identity");
    let response: Response;
    try {
      response = await fetch(url, { ...request, headers, redirect: "manual" });
    } catch (error) {
      throw unavailable(`Git LFS cannot be reached: ${error instanceof Error ? error.message : ""}`);
    }
    const location = response.headers.get("location");
    if (response.status >= 300 && response.status < 400 && location !== null) {
      await response.body?.cancel();
      url = new URL(location, url);
      continue;
    }
    if (response.status === 200 && response.body) return response.body;
    await response.body?.cancel();
    if (response.status === 401 || response.status === 403) {
      throw new WorkerFault("upstream-denied", "Git LFS: authentication failed");
    }
    throw unavailable(`Git LFS: unexpected http status code: ${response.status}`);
  }
  throw unavailable("Git LFS redirects without an end");
}

/** Invariants 2 and 3. */
async function store(
  mirror: string,
  staging: string,
  { oid, size }: LfsObject,
  open: () => Promise<AsyncIterable<Uint8Array>>,
): Promise<void> {
  const place = lfsPath(mirror, oid);
  const staged = join(staging, randomBytes(8).toString("hex"));
  const hash = createHash("sha256");
  let length = 0;
  const source = await open();
  const file = openSync(staged, "wx", 0o600);
  try {
    for await (const part of source) {
      length += part.length;
      if (length > size) break;
      hash.update(part);
      for (let at = 0; at < part.length; ) at += writeSync(file, part, at);
    }
    if (length !== size || hash.digest("hex") !== oid)
      throw unavailable(`it has another content for the Git LFS object ${oid}`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  chmodSync(staged, 0o444);
  mkdirSync(dirname(place), { recursive: true });
  renameSync(staged, place);
}

function unavailable(message: string): WorkerFault {
  return new WorkerFault("upstream-unavailable", message);
}
