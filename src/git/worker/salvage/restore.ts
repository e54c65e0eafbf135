/**
 * Owns bringing a salvage back into a prepared workspace: files, index, branches, stashes, nested repositories' files.
 *
 * Invariants:
 * 1. The workspace is one of ours that no holder has had yet, so its paths are real.
 * 2. Only what the salvage's commit reaches is brought into it, each object hashed again.
 * 3. A file that is as the salvaged commit has it is checked out as git does; any other gets the very bytes it had.
 */
import { lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beside } from "../../../domain/workspace-directory.js";
import type { RestoreSalvageRequest } from "../../../ports/git-engine.js";
import { toBytePath, toFsPath } from "../files/byte-path.js";
import { isHostFault, WorkerFault } from "../files/fault.js";
import { asHolder, asServer, giveToHolder } from "../files/holder.js";
import { isFile } from "../files/place.js";
import { removeFiles } from "../files/remove-files.js";
import { replaceFile } from "../files/replace-file.js";
import { removeTree } from "../files/trash.js";
import { IndexFile } from "../index/index-file.js";
import { formatIndexFile, type WrittenEntry } from "../index/index-writer.js";
import { indexPath } from "../index/trusted-index.js";
import { entryMode, isSubmodule, parseCommit, type TreeEntry } from "../objects/git-object.js";
import { Copied, History, LimitedPack } from "../objects/history.js";
import { ObjectStore, readFrom } from "../objects/object-store.js";
import { PackWriter } from "../objects/pack-writer.js";
import { diffTrees } from "../objects/tree-diff.js";
import { checkOutAll, checkOutChanges } from "../workspace/checkout.js";
import { restoreRefs } from "./restore-refs.js";
import { type ParsedReport, parseReport } from "./salvage-report.js";
import { placePack, readSalvage } from "./salvage-repository.js";

const unlimited = { fileBytes: Number.POSITIVE_INFINITY, totalBytes: Number.POSITIVE_INFINITY };

export function restoreSalvage(request: RestoreSalvageRequest): Promise<void> {
  return asHolder(() => restore(request));
}

async function restore({ salvages, ref, path }: RestoreSalvageRequest): Promise<void> {
  const commit = asServer(() => readSalvage(salvages, ref));
  if (commit === undefined) throw new WorkerFault("salvage-not-found", "there is no such salvage");
  const store = ObjectStore.of(join(salvages, "objects"));
  try {
    const { tree, message } = parseCommit(store.read(commit, "commit"));
    const report = parseReport(message);
    if (!report) throw new Error("a salvage without a report");
    bringObjects(store, report, path);
    const own = ObjectStore.ofWorkspace(path);
    try {
      await new Restoration([store, own], report, path).run(tree);
    } finally {
      own.close();
    }
  } finally {
    store.close();
  }
}

/** Invariant 2. */
function bringObjects(store: ObjectStore, report: ParsedReport, path: string): void {
  const objects = join(path, ".git", "objects");
  const work = path + beside.restored;
  asServer(() => {
    removeTree(work);
    mkdirSync(work, { mode: 0o700 });
    giveToHolder(work);
  });
  const known = ObjectStore.ofWorkspace(path);
  const pack = new PackWriter(work);
  try {
    const target = new LimitedPack(pack, unlimited);
    const history = new History(known, store, target, new Copied());
    for (const { kind, commit, object } of report.tips) {
      if (kind === "index" || kind === "conflicts") history.save(parseCommit(store.read(commit, "commit")).tree);
      else if (object === undefined) history.save(commit);
      else bringAnchored(store, history, target, commit);
    }
    const written = pack.finish();
    if (written) placePack(written, objects);
  } finally {
    pack.close();
    known.close();
    asServer(() => removeTree(work));
  }
}

/** What a commit keeps alive: a tag in its message, or its tree, or a blob in that. */
function bringAnchored(store: ObjectStore, history: History, target: LimitedPack, anchor: string): void {
  const { tree, parents, message } = parseCommit(store.read(anchor, "commit"));
  const tag = /^tag ([0-9a-f]{40})\n\n/.exec(message);
  if (!tag) return history.save(/^(tree|blob) [0-9a-f]{40}\n$/.test(message) ? tree : anchor);
  for (const parent of parents) bringAnchored(store, history, target, parent);
  target.add({ kind: "tag", bytes: Buffer.from(message.slice(tag[0].length), "latin1") }, "a tag");
}

class Restoration {
  private readonly stores: readonly ObjectStore[];
  private readonly report: ParsedReport;
  private readonly path: string;
  private readonly root: string;

  /** `stores`: the salvages' objects, then the workspace's own. */
  constructor(stores: readonly ObjectStore[], report: ParsedReport, path: string) {
    this.stores = stores;
    this.report = report;
    this.path = path;
    this.root = toBytePath(path);
  }

  /** `tree`: of the files. */
  async run(tree: string): Promise<void> {
    const head = this.tip("head") ?? this.tip("base");
    const before = restoreRefs(join(this.path, ".git"), this.report, head);
    const headTree = head === undefined ? undefined : this.treeOf(head);
    await this.goTo(before, head);
    this.writeDifferences(headTree, tree);
    const index = this.tip("index");
    if (index !== undefined) this.writeIndex(this.treeOf(index));
  }

  private tip(kind: string): string | undefined {
    return this.report.tips.find((tip) => tip.kind === kind && tip.nested === "")?.commit;
  }

  private treeOf(commit: string): string {
    return parseCommit(readFrom(this.stores, commit, "commit")).tree;
  }

  private diff(from: string | undefined, to: string | undefined) {
    return diffTrees((id) => readFrom(this.stores, id, "tree"), from, to);
  }

  /** From the commit that the workspace is at to the one it was at when it was salvaged. */
  private async goTo(before: string | undefined, head: string | undefined): Promise<void> {
    if (before === head) return;
    if (before !== undefined && head !== undefined) {
      try {
        return await checkOutChanges(this.path, before, head, []);
      } catch (error) {
        if (isHostFault(error)) throw error;
      }
    }
    for (const commit of [before, head]) {
      if (commit !== undefined) this.remove(this.diff(undefined, this.treeOf(commit)).added);
    }
    rmSync(indexPath(this.path), { force: true });
    if (head !== undefined) await checkOutAll(this.path, head);
  }

  private remove(files: ReadonlyMap<string, TreeEntry>): void {
    removeFiles(
      this.path,
      [...files].flatMap(([path, entry]) => (isSubmodule(entry.mode) ? [] : [path])),
    );
  }

  /** Invariant 3. */
  private writeDifferences(from: string | undefined, to: string): void {
    const { removed, added, changed } = this.diff(from, to);
    this.remove(removed);
    this.remove(changed);
    const submodules = [...removed].flatMap(([path, entry]) => (isSubmodule(entry.mode) ? [`${path}/`] : []));
    for (const [path, entry] of [...changed, ...added]) {
      // files of a submodule stand in the salvage where the commit names it, and some are there already
      if (submodules.some((prefix) => path.startsWith(prefix))) this.remove(new Map([[path, entry]]));
      const place = toFsPath(`${this.root}/${path}`);
      const parent = path.includes("/") ? `${this.root}/${path.slice(0, path.lastIndexOf("/"))}` : this.root;
      mkdirSync(toFsPath(entry.mode === entryMode.submodule ? `${this.root}/${path}` : parent), { recursive: true });
      if (entry.mode === entryMode.submodule) continue;
      const bytes = readFrom(this.stores, entry.id, "blob");
      if (entry.mode === entryMode.link) symlinkSync(bytes, place);
      else writeFileSync(place, bytes, { mode: entry.mode === entryMode.executable ? 0o777 : 0o666, flag: "wx" });
    }
  }

  private writeIndex(tree: string): void {
    const current = indexPath(this.path);
    const known = isFile(current) ? new IndexFile(readFileSync(current)) : IndexFile.empty();
    const positions = new Map(known.paths.map((path, position) => [path, position]));
    const entries: WrittenEntry[] = [];
    const conflicts = this.tip("conflicts");
    const sides = conflicts === undefined ? undefined : this.diff(undefined, this.treeOf(conflicts)).added;
    const conflicting = new Set<string>();
    for (const [path, entry] of sides ?? []) {
      const name = path.slice(path.indexOf("/") + 1);
      conflicting.add(name);
      entries.push({ path: name, stage: Number(path[0]), ...entry });
    }
    for (const [path, entry] of this.diff(undefined, tree).added) {
      if (conflicting.has(path)) continue;
      const position = positions.get(path);
      const isSame = position !== undefined && known.id(position) === entry.id && known.mode(position) === entry.mode;
      const stat = isSame ? this.untouched(path, known, position) : undefined;
      entries.push({ path, ...entry, ...(stat && { stat }) });
    }
    replaceFile(current, formatIndexFile(entries));
  }

  /** The stat of a file that still is what the index says it is. */
  private untouched(path: string, index: IndexFile, position: number) {
    const now = lstatSync(toFsPath(`${this.root}/${path}`), { throwIfNoEntry: false });
    const then = index.stat(position);
    const isSame = now && now.ctimeMs === then.ctimeMs && now.mtimeMs === then.mtimeMs && now.size === then.size;
    return isSame ? now : undefined;
  }
}
