/**
 * Owns the trusted copies of the indexes of a workspace's submodules, beside the workspace's own (trusted-index.ts), and
 * the list of what was placed where.
 *
 * Invariants:
 * 1. The list is written last and names the commit of the superproject that it is of; a list of another commit is none.
 * 2. It is removed together with the workspace's own trusted index.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { replaceUnsynced } from "../files/replace-file.js";
import { removeTree } from "../files/trash.js";
import { isObjectId } from "../mirror/refs.js";
import { readTrustedIndex, type TrustedIndex, trustedModules } from "./trusted-index.js";

/** A submodule that was placed. */
export interface TrustedModule {
  /** In the workspace. */
  readonly path: string;
  /** Its git directory, in the workspace. */
  readonly git: string;
  readonly mirror: string;
  readonly commit: string;
  /** Bytes of its index. */
  readonly index: Buffer;
}

/** One that was read again. */
export interface KnownModule extends Omit<TrustedModule, "index"> {
  readonly trusted: TrustedIndex;
}

const listName = "modules.json";

/** `commit`: of the superproject. */
export function saveTrustedModules(trustedIndex: string, commit: string, modules: readonly TrustedModule[]): void {
  const directory = trustedModules(trustedIndex);
  removeTree(directory);
  if (modules.length === 0) return;
  mkdirSync(directory, { recursive: true });
  const listed = modules.map(({ index, ...module }, number) => {
    replaceUnsynced(join(directory, String(number)), Buffer.concat([index, Buffer.from(module.commit, "latin1")]));
    return module;
  });
  replaceUnsynced(join(directory, listName), Buffer.from(JSON.stringify({ commit, modules: listed })));
}

/** Those of the superproject's commit; one whose index is damaged is left out. */
export function readTrustedModules(trustedIndex: string, commit: string): readonly KnownModule[] {
  const directory = trustedModules(trustedIndex);
  let listed: { readonly commit: string; readonly modules: readonly Omit<TrustedModule, "index">[] };
  try {
    listed = JSON.parse(readFileSync(join(directory, listName), "utf8"));
  } catch {
    return [];
  }
  if (listed.commit !== commit || !isObjectId(commit)) return [];
  return listed.modules.flatMap((module, number) => {
    const trusted = readTrustedIndex(join(directory, String(number)));
    return trusted?.commit === module.commit ? [{ ...module, trusted }] : [];
  });
}
