/**
 * Owns the message of a salvage's commit: a report for people, and trailers from which it is restored.
 *
 * Invariant: whatever names a holder chose, a line stays a line and a word a word: bytes that could end one are
 * written as `%` and two hex digits.
 */
import type { SalvageReport } from "../../../ports/git-engine.js";
import { toBytePath, toText } from "../files/byte-path.js";

/** What a parent of the salvage's commit is. */
export interface SalvagedTip {
  /** `head`, `base`, `index`, `conflicts`, `branch`, `tag`, `stash`, `ref`, `state`, `reflog`, `remote`, `rescued`, `also`. */
  readonly kind: string;
  /** As bytes; empty where the kind says it all. */
  readonly name: string;
  /** Byte path of the nested repository that it is of; empty for the workspace's own. */
  readonly nested: string;
  /** The parent: a commit. */
  readonly commit: string;
  /** The object that was named, where it is no commit and `commit` keeps it alive. */
  readonly object?: string;
}

export interface SalvageContent {
  readonly report: SalvageReport;
  readonly ref: string;
  readonly files: number;
  readonly commits: number;
  /** Full name of the branch that HEAD was on, or `detached`; bytes. */
  readonly head: string;
  readonly tips: readonly SalvagedTip[];
  readonly nested: readonly string[];
  /** Byte paths that are saved under another name, since git takes no such name. */
  readonly renamed: ReadonlyMap<string, string>;
  readonly incomplete: readonly string[];
}

const trailer = "Leasehold-";

/** The message, as bytes. */
export function formatReport(content: SalvageContent): string {
  const { report, files, commits, tips } = content;
  const word = (count: number, one: string): string => `${count} ${one}${count === 1 ? "" : "s"}`;
  const line = (text: string): string => escapeLine(toBytePath(text));
  const lines = [
    `Salvage ${report.salvageId}: ${word(files, "file")}, ${word(commits, "commit")} of ${line(report.repository)}`,
    "",
    `Workspace: ${line(report.workspaceId)}`,
    `Lease: ${line(report.leaseId)}`,
    `Holder: ${line(report.holder)}`,
    `Caller: ${line(report.caller)}`,
    `Reason: ${line(report.reason)}`,
    "",
    "The tree of this commit is the working tree as it was. Its parents, in order:",
    ...tips.map((tip) => `- ${tip.commit.slice(0, 12)} ${describe(tip)}`),
    "",
  ];
  if (content.incomplete.length > 0) {
    lines.push("What could not be saved:", ...content.incomplete.map((text) => `- ${escapeLine(text)}`), "");
  }
  lines.push(
    "To get it back: acquire a workspace with restore_salvage_id, `leasehold salvage restore`, or plain git:",
    `  git fetch <this repository> ${content.ref}`,
    "  git checkout FETCH_HEAD -- .                the files",
    "  git branch <name> <parent>                  a commit or stash from the list above",
    "",
    `${trailer}Salvage: ${escapeWord(report.salvageId)}`,
    `${trailer}Head: ${escapeWord(content.head)}`,
    ...tips.map((tip) => `${trailer}Parent: ${formatTip(tip)}`),
    ...content.nested.map((path) => `${trailer}Nested: ${escapeWord(path)}`),
    ...[...content.renamed].map(([from, to]) => `${trailer}Renamed: ${escapeWord(from)} ${escapeWord(to)}`),
    ...content.incomplete.map((text) => `${trailer}Incomplete: ${escapeLine(text)}`),
  );
  return `${lines.join("\n")}\n`;
}

function describe(tip: SalvagedTip): string {
  const words: Readonly<Record<string, string>> = {
    head: "the commit that HEAD was at",
    base: "the commit that the workspace was prepared at",
    index: "what was staged",
    conflicts: "the sides of unresolved conflicts, in directories 1 (ancestor), 2 (ours), 3 (theirs)",
    also: "another salvage: of files of the same workspace at another place",
  };
  const what = words[tip.kind] ?? `${tip.kind} ${escapeLine(tip.name)}`;
  return tip.nested === "" ? what : `${what}, in the nested repository ${escapeLine(tip.nested)}`;
}

/** `branch refs/heads/x <oid>`, `stash@{0} <oid>`, `index <oid>`, `nested <path> <ref> <oid>`. */
function formatTip(tip: SalvagedTip): string {
  const words = [];
  if (tip.nested !== "") words.push("nested", escapeWord(tip.nested));
  if (tip.kind === "stash") words.push(escapeWord(tip.name));
  else if (tip.nested !== "") words.push(escapeWord(tip.name || tip.kind));
  else words.push(tip.kind, ...(tip.name === "" ? [] : [escapeWord(tip.name)]));
  words.push(tip.commit);
  if (tip.object !== undefined) words.push(tip.object);
  return words.join(" ");
}

export interface ParsedReport {
  readonly head: string;
  readonly tips: readonly SalvagedTip[];
}

/** Reads the trailers back. Undefined if it is no report of ours. */
export function parseReport(message: string): ParsedReport | undefined {
  const last = message.trimEnd().split("\n\n").at(-1) ?? "";
  let head: string | undefined;
  const tips: SalvagedTip[] = [];
  for (const text of last.split("\n")) {
    const match = /^Leasehold-(\w+): (.*)$/s.exec(text);
    if (match?.[1] === "Head") head = unescapeWord(match[2] ?? "");
    if (match?.[1] === "Parent") tips.push(...parseTip(match[2] ?? ""));
  }
  return head === undefined ? undefined : { head, tips };
}

function parseTip(text: string): SalvagedTip[] {
  const words = text.split(" ").map(unescapeWord);
  const nested = words[0] === "nested" ? (words[1] ?? "") : "";
  if (nested !== "") words.splice(0, 2);
  const ids: string[] = [];
  while (/^[0-9a-f]{40}$/.test(words.at(-1) ?? "")) ids.unshift(words.pop() as string);
  const [commit, object] = ids;
  const first = words[0];
  if (commit === undefined || first === undefined) return [];
  const isStash = first.startsWith("stash@{");
  const kind = isStash ? "stash" : nested === "" ? first : "nested";
  const name = isStash || nested !== "" ? first : (words[1] ?? "");
  return [{ kind, name, nested, commit, ...(object !== undefined && { object }) }];
}

/** Bytes as UTF-8 without what ends a line, drives a terminal or turns the direction of text. */
export function escapeLine(bytes: string): string {
  const text = toText(bytes);
  if (text === undefined) return bytes.replace(/[^\x20-\x7e]/g, encode);
  const unsafe = /[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g;
  return toBytePath(text.replace(unsafe, (char) => toBytePath(char).replace(/./gs, encode)));
}

/** Bytes as one word. */
export function escapeWord(bytes: string): string {
  return bytes === "" ? "%" : bytes.replace(/[^\x21-\x7e]|%/g, encode);
}

function unescapeWord(word: string): string {
  return word === "%"
    ? ""
    : word.replace(/%([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function encode(char: string): string {
  return `%${char.charCodeAt(0).toString(16).padStart(2, "0")}`;
}
