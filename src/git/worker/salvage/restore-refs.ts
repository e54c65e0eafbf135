/**
 * Owns bringing a salvage's branches, tags, stashes, HEAD and reflogs back into a workspace of ours.
 *
 * Invariants:
 * 1. Only names that git accepts are written; what has another name, or one that is taken, gets a place below
 *    `refs/leasehold/`.
 * 2. Remote-tracking refs and tags that the upstream gave stay as they are.
 */
import { appendFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { toText } from "../files/byte-path.js";
import { isObjectId, isRefName, readRefs } from "../mirror/refs.js";
import { signature } from "../objects/history.js";
import { escapeWord, type ParsedReport, type SalvagedTip } from "./salvage-report.js";

const zeroId = "0".repeat(40);
const salvaged = "refs/leasehold/salvaged/";
const nestedRefs = "refs/leasehold/nested/";
const stash = "refs/stash";

/** `head`: the commit for HEAD. Answers the commit that HEAD was at. */
export function restoreRefs(directory: string, report: ParsedReport, head: string | undefined): string | undefined {
  const table = readRefs(directory);
  const before = isObjectId(table.head) ? table.head : table.refs.get(table.head)?.id;
  const refs = new Map<string, string>();
  const branch = refName(report.head);
  if (branch !== undefined && head !== undefined) refs.set(branch, head);
  for (const tip of report.tips) {
    const name = nameOf(tip);
    if (name !== undefined && !refs.has(name)) refs.set(name, tip.object ?? tip.commit);
  }
  const taken = new Set(table.refs.keys());
  for (const [name, id] of refs) {
    for (const other of conflicts(name, taken)) {
      // The branch that the workspace was prepared on, where the holder had none of that name.
      if (other.startsWith("refs/heads/") && !refs.has(other)) {
        rmSync(join(directory, other), { force: true });
        taken.delete(other);
      }
    }
    const isFree = [...conflicts(name, taken)].length === 0 && !(name.startsWith("refs/remotes/") && taken.has(name));
    const place = isFree ? name : `${salvaged}${name.slice("refs/".length)}`;
    write(directory, place, `${id}\n`);
    taken.add(place);
    if (place.startsWith("refs/heads/")) {
      log(directory, place, table.refs.get(place)?.id ?? zeroId, id, "salvage: restored");
    }
  }
  writeStashes(directory, report);
  writeHead(directory, report, branch, head, before);
  return before;
}

/** The ref that a tip gets back; undefined for those that are told elsewhere. */
function nameOf(tip: SalvagedTip): string | undefined {
  const { kind, name, nested } = tip;
  if (nested !== "") return part(`${nestedRefs}${nested}/${(name || kind).replace(/^refs\//, "")}`);
  switch (kind) {
    case "branch":
    case "tag":
    case "remote":
      return refName(name) ?? part(salvaged + name);
    case "ref":
      return name.startsWith("refs/notes/") ? (refName(name) ?? part(salvaged + name)) : part(salvaged + name);
    case "state":
    case "rescued":
    case "also":
      return part(`${salvaged}${kind}/${name || "salvage"}`);
    default:
      return undefined;
  }
}

/** A full ref name as text, if git takes it. */
function refName(bytes: string): string | undefined {
  const text = toText(bytes);
  return text !== undefined && isRefName(text) ? text : undefined;
}

/** A ref name made of bytes that git might not take. */
function part(bytes: string): string | undefined {
  const name = bytes
    .replace(/^refs\/leasehold\/salvaged\/refs\//, salvaged)
    .split("/")
    .map((word) => escapeWord(word).replace(/[~^:?*[\\]|^\.|\.$|\.(?=\.)|\.lock$|@(?=\{)/g, encode))
    .join("/");
  return isRefName(name) ? name : undefined;
}

function encode(text: string): string {
  return [...text].map((char) => `%${char.charCodeAt(0).toString(16).padStart(2, "0")}`).join("");
}

/** Names that cannot stand beside `name`: one would have to be a file and a directory. */
function* conflicts(name: string, taken: ReadonlySet<string>): Generator<string> {
  for (let slash = name.lastIndexOf("/"); slash > 0; slash = name.lastIndexOf("/", slash - 1)) {
    if (taken.has(name.slice(0, slash))) yield name.slice(0, slash);
  }
  for (const other of taken) {
    if (other.startsWith(`${name}/`)) yield other;
  }
}

function writeStashes(directory: string, report: ParsedReport): void {
  const stashes = report.tips.filter((tip) => tip.kind === "stash" && tip.nested === "");
  const newest = stashes[0];
  if (!newest) return;
  write(directory, stash, `${newest.commit}\n`);
  let last = zeroId;
  for (const { commit, name } of stashes.reverse()) {
    log(directory, stash, last, commit, name);
    last = commit;
  }
}

function writeHead(
  directory: string,
  report: ParsedReport,
  branch: string | undefined,
  head: string | undefined,
  before: string | undefined,
): void {
  // Commits that only the reflog named, the oldest first.
  let last = before ?? zeroId;
  for (const { commit, name } of report.tips.filter((tip) => tip.kind === "reflog" && tip.nested === "").reverse()) {
    log(directory, "HEAD", last, commit, `salvage: ${escapeWord(name)}`);
    last = commit;
  }
  if (report.head !== "" || head !== before) {
    if (branch !== undefined) writeFileSync(join(directory, "HEAD"), `ref: ${branch}\n`);
    else if (head !== undefined) writeFileSync(join(directory, "HEAD"), `${head}\n`);
  }
  if (head !== undefined && last !== head) log(directory, "HEAD", last, head, "salvage: restored");
}

function write(directory: string, name: string, content: string): void {
  const path = join(directory, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

function log(directory: string, name: string, from: string, to: string, message: string): void {
  const path = join(directory, "logs", name);
  mkdirSync(dirname(path), { recursive: true });
  const seconds = Math.floor(Date.now() / 1000);
  appendFileSync(path, `${from} ${to} ${signature(seconds)}\t${message}\n`);
}
