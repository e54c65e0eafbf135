/**
 * Owns which references a clone of the mirror has.
 *
 * Invariant: they are the mirror's, under the names that a clone gives them. Only where the mirror has changed since the
 * workspace got its own may they differ from that; then at least nothing is there but remote branches and tags.
 */
import { lstatSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isRefName, parsePacked, type Ref, type RefTable } from "../mirror/refs.js";
import type { Findings } from "./findings.js";

const origin = "refs/remotes/origin/";
const header = "# pack-refs with: peeled fully-peeled sorted ";

export interface ClonedRefs {
  /** Of `packed-refs`; undefined if it is not to be there. */
  readonly text: string | undefined;
  readonly refs: ReadonlyMap<string, Ref>;
  /** Where the origin's HEAD points; undefined if that names no branch. */
  readonly head: string | undefined;
}

/** What is to be in a git directory. */
export function clonedRefs(git: string, mirror: string, table: RefTable, findings: Pick<Findings, "add">): ClonedRefs {
  const refs = new Map<string, Ref>();
  for (const [name, ref] of table.refs) {
    const place = name.replace(/^refs\/heads\//, origin);
    if (isRefName(place) && isCloned(place)) refs.set(place, ref);
  }
  const named = table.head.replace(/^refs\/heads\//, origin);
  const head = named !== table.head && refs.has(named) ? named : undefined;
  const now = { text: refs.size === 0 ? undefined : textOf(refs), refs, head };
  const found = readFile(join(git, "packed-refs"));
  if (found?.text === now.text || isOlder(mirror, found?.changedMs)) return now;
  return olderRefs(git, found?.text, findings) ?? now;
}

/** Those of a mirror as it was before, as far as they can be judged. */
function olderRefs(git: string, text: string | undefined, findings: Pick<Findings, "add">): ClonedRefs | undefined {
  const refs = text === undefined ? new Map<string, Ref>() : parsePacked(text);
  if (![...refs.keys()].every((name) => isRefName(name) && isCloned(name))) return undefined;
  if (text !== undefined && text !== textOf(refs)) return undefined;
  const told = readFile(join(git, `${origin}HEAD`))?.text;
  const head = told === undefined ? undefined : told.replace(/^ref: /, "").trimEnd();
  if (head !== undefined && !refs.has(head)) findings.add(`.git/${origin}HEAD: names no branch`);
  return { text, refs, head };
}

/** Whether the mirror's references have not changed since. A file's change time is not to be set by anybody. */
function isOlder(mirror: string, sinceMs: number | undefined): boolean {
  const stat = lstatSync(join(mirror, "packed-refs"), { throwIfNoEntry: false });
  return sinceMs !== undefined && stat !== undefined && stat.ctimeMs < sinceMs;
}

function isCloned(name: string): boolean {
  return name.startsWith(origin) || name.startsWith("refs/tags/");
}

function readFile(path: string): { readonly text: string; readonly changedMs: number } | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat?.isFile() ? { text: readFileSync(path, "utf8"), changedMs: stat.ctimeMs } : undefined;
}

function textOf(refs: ReadonlyMap<string, Ref>): string {
  const lines = [...refs].map(([name, { id, peeled }]) => ({
    key: Buffer.from(name),
    text: `${id} ${name}\n${peeled ? `^${peeled}\n` : ""}`,
  }));
  lines.sort((a, b) => a.key.compare(b.key));
  return `${header}\n${lines.map((line) => line.text).join("")}`;
}
