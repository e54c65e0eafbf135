/**
 * Owns saving all work in a workspace that exists nowhere else, as one commit in the repository of salvages.
 *
 * Invariants:
 * 1. What is work is what unsaved-work.ts finds.
 * 2. The workspace is left as it is. Before the ref is written nothing refers to what was written.
 * 3. Files are always saved whole or the outcome is `refused`; commits that are damaged are left out and named.
 * 4. The same workspace gives the same commit, whenever and however often it is salvaged.
 * 5. Nothing gets into the mirror, and nothing comes from outside the workspace and the mirror.
 * 6. Where a part of a `.git` may hold work and was not read, the outcome is `refused`: what is damaged can be told, what was
 *    not looked at cannot.
 */
import { join } from "node:path";
import type { SalvageOutcome, SalvageRequest } from "../../../ports/git-engine.js";
import { toBytePath, toText } from "../files/byte-path.js";
import { asOwnerOf } from "../files/holder.js";
import { describeMounts } from "../files/obstruction.js";
import { isDirectory } from "../files/place.js";
import { removeTree } from "../files/trash.js";
import { readTrustedIndex } from "../index/trusted-index.js";
import { readTrustedModules } from "../index/trusted-modules.js";
import { Damaged, parseCommit, referencesOf } from "../objects/git-object.js";
import { Beyond, Copied, formatCommit, History, LimitedPack } from "../objects/history.js";
import { ObjectStore } from "../objects/object-store.js";
import { PackWriter } from "../objects/pack-writer.js";
import type { NestedRepository } from "./nested-repositories.js";
import { saveFiles, saveIndex } from "./salvage-files.js";
import { escapeLine, formatReport, type SalvagedTip } from "./salvage-report.js";
import { placePack, prepareRepository, salvageRef, stagingOf, writeRef } from "./salvage-repository.js";
import { saveNestedIndex, saveTips, type TipSaver } from "./salvage-tips.js";
import { brokenIndex, findWork, hasWork, holderLimits, type Work } from "./unsaved-work.js";

/** Times that git can show. */
const latestTime = 4_102_444_800;

interface Saved {
  readonly commit: string;
  readonly files: number;
  readonly commits: number;
  /** As bytes. */
  readonly incomplete: readonly string[];
  /** Of submodules' upstreams whose commits it builds on. */
  readonly mirrors: readonly string[];
}

export async function salvageWork(request: SalvageRequest): Promise<SalvageOutcome> {
  const { salvages, mirror, report } = request;
  const ref = salvageRef(report.salvageId);
  const staging = stagingOf(salvages);
  const pack = new PackWriter(join(staging, "pack"));
  let current = "";
  try {
    const target = new LimitedPack(pack, request.limits);
    let last: Saved | undefined;
    // An attempt that was killed may have left the files at two places; both may hold work.
    for (const path of [...new Set(request.candidates.filter(isDirectory))].reverse()) {
      current = path;
      const mounted = describeMounts(path);
      if (mounted !== undefined) return { kind: "refused", path, detail: mounted };
      const other = last;
      last = (await asOwnerOf(path, () => salvageOne(request, path, staging, target, other))) ?? last;
    }
    if (!last) return { kind: "none" };
    const { bytes } = pack;
    const written = pack.finish();
    await prepareRepository(salvages, [mirror, ...last.mirrors], staging);
    if (written) placePack(written, join(salvages, "objects"));
    verify(salvages, last.commit, pack);
    writeRef(salvages, ref, last.commit, staging);
    const incomplete = last.incomplete.map(shown);
    return { kind: "saved", ref, commit: last.commit, files: last.files, commits: last.commits, bytes, incomplete };
  } catch (error) {
    if (error instanceof Beyond) return { kind: "refused", path: current, detail: shown(error.message) };
    if (!isUnreadable(error)) throw error;
    return { kind: "refused", path: current, detail: "there are files that could not be examined" };
  } finally {
    pack.close();
    removeTree(staging);
  }
}

/** Undefined if there is no work at `path`. `other` is what was saved from another place. */
async function salvageOne(
  request: SalvageRequest,
  path: string,
  staging: string,
  target: LimitedPack,
  other: Saved | undefined,
): Promise<Saved | undefined> {
  const { mirror, salvageIgnored } = request;
  const trusted = readTrustedIndex(request.trustedIndex);
  // a kill may have come between the checkout and the row that tells of it
  const from = trusted?.commit ?? request.from;
  const modules = trusted ? readTrustedModules(request.trustedIndex, from) : [];
  const find = (withoutHead: boolean): Promise<Work> =>
    findWork({ path, mirror, from, trusted, modules, salvageIgnored, work: join(staging, "work"), withoutHead });
  let work = await find(false);
  try {
    if (!hasWork(work)) return undefined;
    if (work.overflow) throw new Beyond("there are more untracked files than are looked at");
    for (const { path: at, git } of [{ path: "", git: work.git }, ...work.nested]) refuseUnread(at, git?.unread);
    const copied = new Copied();
    let history = new History(work.mirror, work.objects, target, copied);
    if (work.base.commit !== undefined) {
      try {
        history.save(work.base.commit);
      } catch (error) {
        if (!(error instanceof Damaged) || !work.base.isHead) throw error;
        work.release();
        work = await find(true);
        history = new History(work.mirror, work.objects, target, copied);
        if (work.base.commit !== undefined) history.save(work.base.commit);
      }
    }
    return save(request, work, history, target, copied, other);
  } finally {
    work.release();
  }
}

function save(
  request: SalvageRequest,
  work: Work,
  history: History,
  target: LimitedPack,
  copied: Copied,
  other: Saved | undefined,
): Saved {
  const { base, git, mirror } = work;
  const incomplete = work.doubts.map((doubt) => toBytePath(doubt));
  const files = saveFiles(work, history, target);
  const time = Math.min(Math.max(files.newest, timeOf(history, base.commit), 0), latestTime);
  const tips: SalvagedTip[] = [];
  const own = (kind: string, commit: string): void => void tips.push({ kind, name: "", nested: "", commit });
  if (base.commit !== undefined) own(base.isHead ? "head" : "base", base.commit);
  const commit = (tree: string, parents: readonly string[], message: string): string =>
    target.add({ kind: "commit", bytes: formatCommit(tree, parents, time, message) }, "a commit of the salvage");
  if (work.staged) {
    const index = saveIndex(work.staged, base.tree, history, target, incomplete);
    const parents = base.commit === undefined ? [] : [base.commit];
    own("index", commit(index.tree, parents, `index of ${base.commit ?? "a branch without commits"}\n`));
    if (index.conflicts !== undefined) own("conflicts", commit(index.conflicts, parents, "sides of conflicts\n"));
  }
  const saver: TipSaver = { history, target, time, nested: "", incomplete, copies: new Map() };
  if (git) tips.push(...saveTips(saver, git, (id) => mirror.has(id)));
  for (const nested of work.nested) tips.push(...saveNested(work, nested, target, copied, time, incomplete));
  refuseUnread("", unreadOf(work.objects));
  if (git?.brokenIndex === "nonsense") incomplete.push(brokenIndex);
  for (const path of work.special) incomplete.push(`${path}: it is a pipe, a socket or a device`);
  if (other) own("also", other.commit);
  const fileCount = work.changes.size + (other?.files ?? 0);
  const commitCount = copied.commits.size + (other?.commits ?? 0);
  const all = [...(other?.incomplete ?? []), ...incomplete];
  const detached = git?.tips.some((tip) => tip.kind === "head") ? "detached" : "";
  const message = formatReport({
    report: request.report,
    ref: salvageRef(request.report.salvageId),
    files: fileCount,
    commits: commitCount,
    head: git?.branch ?? detached,
    tips,
    nested: work.nested.map((nested) => nested.path),
    renamed: files.renamed,
    incomplete: all,
  });
  const parents = [...new Set(tips.map((tip) => tip.commit))];
  const mirrors = [...(other?.mirrors ?? []), ...work.nested.flatMap((nested) => nested.mirror ?? [])];
  const saved = { files: fileCount, commits: commitCount, incomplete: all, mirrors: [...new Set(mirrors)] };
  return { commit: commit(files.tree, parents, message), ...saved };
}

/** Its commits, and what is staged in it; its files are among the workspace's. */
function saveNested(
  work: Work,
  nested: NestedRepository,
  target: LimitedPack,
  copied: Copied,
  time: number,
  incomplete: string[],
): SalvagedTip[] {
  if (nested.problem !== undefined) incomplete.push(`nested repository ${nested.path}: ${nested.problem}`);
  if (!nested.git) return [];
  const objects = new ObjectStore(work.inside, nested.objects, holderLimits);
  const upstream = nested.mirror === undefined ? undefined : ObjectStore.of(join(nested.mirror, "objects"));
  const known = upstream ?? work.mirror;
  try {
    const history = new History(known, objects, target, copied);
    const saver: TipSaver = { history, target, time, nested: nested.path, incomplete, copies: new Map() };
    const tips = saveTips(saver, nested.git, (id) => known.has(id));
    const index = saveNestedIndex(saver, nested.git);
    refuseUnread(nested.path, unreadOf(objects));
    if (nested.git.brokenIndex) incomplete.push(`nested repository ${nested.path}: its index cannot be read`);
    return index === undefined ? tips : [...tips, { kind: "index", name: "", nested: nested.path, commit: index }];
  } finally {
    objects.close();
    upstream?.close();
  }
}

/** Invariant 6. `nested`: byte path of the repository, empty for the workspace's own. */
function refuseUnread(nested: string, unread: string | undefined): void {
  if (unread === undefined) return;
  throw new Beyond(nested === "" ? `.git: ${unread}` : `the nested repository ${nested}: ${unread}`);
}

function unreadOf(objects: ObjectStore): string | undefined {
  return objects.unread ? "there are objects that are not looked at" : undefined;
}

/** Fails unless the commit is whole in the repository, as far as this salvage has brought it there. */
function verify(salvages: string, commit: string, pack: PackWriter): void {
  const store = ObjectStore.of(join(salvages, "objects"));
  try {
    const seen = new Set([commit]);
    for (const id of seen) {
      if (!store.has(id)) throw new Error(`the salvage lacks object ${id}`);
      if (!pack.has(id) || pack.kindOf(id) === "blob") continue;
      const object = store.find(id);
      if (!object) throw new Error(`the salvage lacks object ${id}`);
      for (const reference of referencesOf(object)) seen.add(reference);
    }
  } finally {
    store.close();
  }
}

function timeOf(history: History, commit: string | undefined): number {
  return commit === undefined ? 0 : parseCommit(history.read(commit).bytes).time;
}

function shown(bytes: string): string {
  return toText(escapeLine(bytes)) ?? "";
}

/** The holder's doing, not this host's: such files stay where they are. */
function isUnreadable(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return error instanceof Damaged || code === "EACCES" || code === "EPERM" || code === "ENAMETOOLONG";
}
