/**
 * Owns which commits of a holder's repository, or of a nested one, become parents of a salvage.
 *
 * Invariants:
 * 1. A tip that is damaged is left out and named; of its commits, those that are whole by themselves are copied
 *    without the history that is missing.
 * 2. What an earlier tip reaches needs no parent of its own, unless it has a name to be restored.
 */

import { isKnownMode, isPossible } from "../index/staged.js";
import { Damaged, entryMode, type GitObject, parseCommit, type TreeEntry } from "../objects/git-object.js";
import { anchor, Beyond, formatCommit, type History, type LimitedPack } from "../objects/history.js";
import type { HolderGit, Tip } from "./holder-git.js";
import { treeAccess } from "./salvage-files.js";
import type { SalvagedTip } from "./salvage-report.js";
import { editTree } from "./tree-edit.js";

/** Commits of a damaged history that are looked at. */
const mostRescued = 2_000;

export interface TipSaver {
  readonly history: History;
  readonly target: LimitedPack;
  readonly time: number;
  /** Byte path of the nested repository; empty for the workspace's own. */
  readonly nested: string;
  readonly incomplete: string[];
  /** What stands for a commit whose history is damaged: its copy, or the copies of its parents. */
  readonly copies: Map<string, readonly string[]>;
}

/** Saves `tips`, in their order. `known`: whether the mirror has it. */
export function saveTips(saver: TipSaver, git: HolderGit, known: (id: string) => boolean): SalvagedTip[] {
  const saved: SalvagedTip[] = [];
  for (const tip of git.tips) {
    const { kind, name, id } = tip;
    // The mirror's commits are worth a parent only to bring a branch back.
    if (known(id) && !(kind === "branch" && saver.nested === "")) continue;
    const isNamed = kind === "branch" || kind === "tag" || kind === "stash" || kind === "ref";
    if (!isNamed && saver.history.has(id)) continue;
    const copies = saver.copies.get(id);
    if (copies) {
      if (isNamed) saved.push(...copies.map((commit) => ({ kind: "rescued", name, nested: saver.nested, commit })));
      continue;
    }
    try {
      saver.history.save(id);
      const commit = anchor(saver.history, saver.target, id, saver.time);
      saved.push({ kind, name, nested: saver.nested, commit, ...(commit !== id && { object: id }) });
    } catch (error) {
      if (error instanceof Beyond && kind === "remote") {
        saver.incomplete.push(`${where(saver, tip)}: ${error.message}; its remote has it`);
      } else if (error instanceof Damaged) {
        const rescued = rescue(saver, id);
        const copied = rescued.length > 0 ? "; commits that are whole were copied without their history" : "";
        saver.incomplete.push(`${where(saver, tip)}: ${error.message}${copied}`);
        saved.push(...rescued.map((commit) => ({ kind: "rescued", name, nested: saver.nested, commit })));
      } else throw error;
    }
  }
  return saved;
}

function where(saver: TipSaver, tip: Tip): string {
  const what =
    tip.kind === "state" || tip.kind === "reflog" || tip.kind === "stash" ? tip.name : `${tip.kind} ${tip.name}`;
  return `${what} ${tip.id}${saver.nested === "" ? "" : ` of the nested repository ${saver.nested}`}`;
}

/** The id of a commit of what is staged in a nested repository; undefined if that is what its HEAD has. */
export function saveNestedIndex(saver: TipSaver, git: HolderGit): string | undefined {
  if (!git.index) return undefined;
  const { history, target } = saver;
  const head = git.tips.find((tip) => tip.kind === "head")?.id;
  const isHeadSaved = head !== undefined && history.has(head);
  const edits = new Map<string, TreeEntry | undefined>();
  for (const [position, name] of git.index.paths.entries()) {
    const entry = { mode: git.index.mode(position), id: git.index.id(position) };
    // a whole directory of a sparse index
    const isTree = entry.mode === entryMode.tree;
    const path = isTree ? name.replace(/\/$/, "") : name;
    if (git.index.isIntent(position) || !isPossible(path) || !(isTree || isKnownMode(entry.mode))) continue;
    try {
      if (entry.mode !== entryMode.submodule) history.save(entry.id);
      edits.set(path, entry);
    } catch (error) {
      if (!(error instanceof Damaged)) throw error;
      saver.incomplete.push(`staged file ${path} of the nested repository ${saver.nested}: ${error.message}`);
    }
  }
  if (edits.size === 0) return undefined;
  const tree = editTree(treeAccess(history, target), undefined, edits);
  if (isHeadSaved && parseCommit(history.read(head).bytes).tree === tree) return undefined;
  const bytes = formatCommit(tree, isHeadSaved ? [head] : [], saver.time, `index of ${head ?? "no commit"}\n`);
  return target.add({ kind: "commit", bytes }, "a commit of the salvage");
}

/** Invariant 1: the newest copies. */
export function rescue(saver: TipSaver, tip: string): readonly string[] {
  const commits = new Map<string, GitObject>();
  const order: string[] = [];
  const pending = [tip];
  for (let id = pending.pop(); id !== undefined && commits.size < mostRescued; id = pending.pop()) {
    if (commits.has(id) || saver.history.has(id) || (id !== tip && saver.copies.has(id))) continue;
    const object = attempt(saver, id);
    if (object?.kind !== "commit") continue;
    commits.set(id, object);
    order.push(id);
    pending.push(...parseCommit(object.bytes).parents);
  }
  const { copies } = saver;
  copies.set(tip, []);
  // Parents come after their children in `order`, but for histories that meet again; those lose an edge, no commit.
  for (const id of order.reverse()) {
    const { tree, parents, message } = parseCommit((commits.get(id) as GitObject).bytes);
    const above = [
      ...new Set(parents.flatMap((parent) => copies.get(parent) ?? (saver.history.has(parent) ? [parent] : []))),
    ];
    try {
      saver.history.save(tree);
      const text = `${message.trimEnd()}\n\n(A copy of commit ${id}, whose history is damaged.)\n`;
      const bytes = formatCommit(tree, above, saver.time, text);
      copies.set(id, [saver.target.add({ kind: "commit", bytes }, "a commit of the salvage")]);
    } catch (error) {
      if (!(error instanceof Damaged)) throw error;
      copies.set(id, above);
    }
  }
  return (copies.get(tip) ?? []).filter((id) => !saver.history.has(id));
}

function attempt(saver: TipSaver, id: string): GitObject | undefined {
  try {
    const object = saver.history.read(id);
    if (object.kind === "commit") parseCommit(object.bytes);
    return object;
  } catch (error) {
    if (error instanceof Damaged) return undefined;
    throw error;
  }
}
