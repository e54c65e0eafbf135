/**
 * Owns comparing files' bytes with what a checkout of the commit writes.
 *
 * Invariants:
 * 1. Files are opened as `Inside` does: nothing is followed, nothing waits.
 * 2. Where attributes of the commit convert files, the comparison is with a checkout of the commit itself, into a place
 *    of ours: in that direction alone a file whose line ends were changed is seen, whichever way.
 */
import { createHash, type Hash } from "node:crypto";
import { closeSync, mkdirSync, readSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { toShown, toText } from "../files/byte-path.js";
import { Inside } from "../files/inside.js";
import { removeTree } from "../files/trash.js";
import type { IndexFile } from "../index/index-file.js";
import { git } from "../nodegit.js";
import type { ObjectStore } from "../objects/object-store.js";
import { isAttributesFile, isConverting } from "../workspace/attributes.js";
import { checkOutSome, fill } from "../workspace/checkout.js";
import type { Findings } from "./findings.js";

const linkKind = 0o120000;
const kindMask = 0o170000;
/** More files than that are not checked out one by one. */
const fewFiles = 1_000;
const chunkBytes = 1 << 20;

export interface ContentRequest {
  readonly path: string;
  readonly commit: string;
  /** The mirror's objects directory. */
  readonly objectsPath: string;
  readonly objects: ObjectStore;
  /** An absent directory. */
  readonly scratch: string;
  /** By byte path: the SHA-256 of files whose contents Git LFS has. */
  readonly lfs: ReadonlyMap<string, string>;
}

/** `unproven`: positions of files whose stat is right. */
export async function verifyContent(
  request: ContentRequest,
  index: IndexFile,
  unproven: readonly number[],
  findings: Pick<Findings, "add">,
): Promise<void> {
  if (unproven.length === 0) return;
  const inside = new Inside(request.path);
  const positions: number[] = [];
  for (const position of unproven) {
    const path = index.paths[position] as string;
    const oid = request.lfs.get(path);
    if (oid === undefined) positions.push(position);
    else if (digest(inside, path, createHash("sha256")) !== oid) findings.add(`${toShown(path)}: has other content`);
  }
  if (positions.length === 0) return;
  const compare = (position: number, id: string | undefined): void => {
    const path = index.paths[position] as string;
    const found = isLink(index, position) ? linkId(inside, path) : fileId(inside, path);
    if (found === undefined || found !== id) findings.add(`${toShown(path)}: has other content`);
  };
  const attributes = index.paths.flatMap((path, position) => (isAttributesFile(path) ? [position] : []));
  const converts = attributes.some((at) => isConverting(request.objects.read(index.id(at), "blob")));
  const plain = converts ? positions.filter((position) => isLink(index, position)) : positions;
  for (const position of plain) compare(position, index.id(position));
  if (plain.length === positions.length) return;
  const files = positions.filter((position) => !isLink(index, position));
  try {
    await checkOut(request, index, attributes, files);
    const written = new Inside(request.scratch);
    for (const position of files) compare(position, fileId(written, index.paths[position] as string));
  } finally {
    removeTree(request.scratch);
  }
}

/** Writes at least the files at `positions` into the scratch place. Its repository borrows the mirror's objects. */
async function checkOut(
  { commit, objectsPath, scratch }: ContentRequest,
  index: IndexFile,
  attributes: readonly number[],
  positions: readonly number[],
): Promise<void> {
  removeTree(scratch);
  mkdirSync(dirname(scratch), { recursive: true });
  (await git.Repository.init(scratch, 0)).cleanup();
  writeFileSync(join(scratch, ".git", "objects", "info", "alternates"), `${objectsPath}\n`);
  writeFileSync(join(scratch, ".git", "HEAD"), `${commit}\n`);
  const [rules, names] = [attributes, positions].map((list) => list.map((at) => toText(index.paths[at] as string)));
  const isText = (name: string | undefined): name is string => name !== undefined;
  if (names && names.length <= fewFiles && names.every(isText) && rules?.every(isText)) {
    await checkOutSome(scratch, commit, rules, names);
  } else await fill(scratch, commit);
}

function isLink(index: IndexFile, position: number): boolean {
  return (index.mode(position) & kindMask) === linkKind;
}

function linkId(inside: Inside, path: string): string | undefined {
  const target = inside.readLink(path);
  return target && createHash("sha1").update(`blob ${target.length}\0`).update(target).digest("hex");
}

/** The id that the bytes have as a blob; undefined if there is no such file, or it ends early. */
function fileId(inside: Inside, path: string): string | undefined {
  return digest(inside, path, createHash("sha1"), (size) => `blob ${size}\0`);
}

function digest(inside: Inside, path: string, hash: Hash, header?: (size: number) => string): string | undefined {
  const opened = inside.open(path);
  if (!opened) return undefined;
  try {
    const { size } = opened.stat;
    if (header) hash.update(header(size));
    const chunk = Buffer.allocUnsafe(Math.min(size, chunkBytes));
    for (let at = 0; at < size; ) {
      const read = readSync(opened.file, chunk, 0, Math.min(chunk.length, size - at), at);
      if (read === 0) return undefined;
      hash.update(chunk.subarray(0, read));
      at += read;
    }
    return hash.digest("hex");
  } finally {
    closeSync(opened.file);
  }
}
