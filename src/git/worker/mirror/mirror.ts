/**
 * Owns making and fetching mirrors.
 *
 * Invariants:
 * 1. A mirror appears at its path whole: objects verified, references written, synced, then renamed.
 * 2. A fetch changes `refs/heads/`, `refs/tags/` and the extra refs that were asked for; nothing else, so
 *    `refs/leasehold/` stays. All references change at once, after all objects are there.
 * 3. A mirror's configuration holds nothing of the upstream: no URL, no credential.
 */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { MirrorProgress } from "../../../domain/repository.js";
import type { MirrorRefs } from "../../../ports/git-engine.js";
import type { CloneMirrorJob, FetchMirrorJob } from "../../protocol.js";
import { syncDirectory } from "../files/replace-file.js";
import { removeTree } from "../files/trash.js";
import { enableFsync, findObject, git, objectType, type Repository, withRepository } from "../nodegit.js";
import { noteFormer } from "./former-tips.js";
import { checkTips, peel } from "./mirror-check.js";
import { packDirectory } from "./mirror-packs.js";
import { recordObjects } from "./mirror-record.js";
import { makeView, takePacks } from "./mirror-view.js";
import { describeRefs, isObjectId, isRefName, type Ref, type RefTable, readRefs, writeMirrorRefs } from "./refs.js";
import { type Advertisement, type Connection, upstreamConfiguration, withUpstream } from "./upstream.js";

/** Where HEAD of an upstream that is detached at a commit outside all branches is kept. */
const detachedHeadRef = "refs/leasehold/upstream-head";
const followed = ["refs/heads/", "refs/tags/"] as const;
/** In a mirror, for a fetch. */
const viewName = "leasehold-fetch";
/** HEAD's branch where an empty upstream does not tell it. */
const unbornBranch = "refs/heads/main";

export async function cloneMirror(
  job: CloneMirrorJob,
  report: (progress: MirrorProgress) => void,
): Promise<MirrorRefs> {
  enableFsync();
  mkdirSync(dirname(job.staged), { recursive: true });
  (await git.Repository.init(job.staged, 1)).cleanup();
  appendFileSync(join(job.staged, "config"), upstreamConfiguration);
  const table = await withRepository(job.staged, (repository) =>
    withUpstream(repository, job, report, (connection) => update(repository, job.staged, job.url, connection, [])),
  );
  recordObjects(job.staged);
  mkdirSync(dirname(job.path), { recursive: true });
  const replaced = `${job.staged}.replaced`;
  // contents of Git LFS bear their digests as names, and are as good as before
  if (existsSync(join(job.path, "lfs"))) renameSync(join(job.path, "lfs"), join(job.staged, "lfs"));
  if (existsSync(job.path)) renameSync(job.path, replaced);
  renameSync(job.staged, job.path);
  syncDirectory(dirname(job.path));
  rmSync(replaced, { recursive: true, force: true });
  return describeRefs(table);
}

export async function fetchMirror(job: FetchMirrorJob): Promise<MirrorRefs> {
  const { path, url, extraRefs } = job;
  enableFsync();
  removeLeftovers(path);
  const view = await viewFor(path, url);
  const fetch = async (repository: Repository, connection: Connection): Promise<MirrorRefs> => {
    const arrived = (): void => void (view && takePacks(view, packDirectory(path)));
    return describeRefs(await update(repository, path, url, connection, extraRefs, arrived));
  };
  try {
    const refs = await withRepository(view ?? path, (repository) =>
      withUpstream(
        repository,
        job,
        () => {},
        (connection) => fetch(repository, connection),
      ),
    );
    recordObjects(path);
    return refs;
  } finally {
    if (view) removeTree(view);
  }
}

/**
 * libgit2 cannot fetch from a repository on this host into one that has references to trees or blobs. Then it fetches into a
 * view without them. Answers its path.
 */
async function viewFor(mirror: string, url: string): Promise<string | undefined> {
  if (localPath(url) === undefined) return undefined;
  const { refs } = readRefs(mirror);
  const commits = new Map<string, Ref>();
  await withRepository(mirror, async (repository) => {
    const odb = await repository.odb();
    for (const [name, ref] of refs) {
      const object = await findObject(odb, ref.peeled ?? ref.id);
      if (object?.type() === objectType.commit) commits.set(name, ref);
    }
  });
  if (commits.size === refs.size) return undefined;
  const view = join(mirror, viewName);
  await makeView(view, mirror, commits);
  return view;
}

/** Fetches what is new and writes the references (invariant 2). `arrived` is called when the objects are there. */
async function update(
  repository: Repository,
  directory: string,
  url: string,
  connection: Connection,
  extraRefs: readonly string[],
  arrived: () => void = () => {},
): Promise<RefTable> {
  const { advertisement } = connection;
  const before = readRefs(directory);
  const extras = extraRefs.filter((name) => isRefName(name) && advertisement.refs.has(name));
  const wanted = new Map<string, string>();
  for (const [name, id] of advertisement.refs) {
    if (isFollowed(name) || extras.includes(name)) wanted.set(name, id);
  }
  const head = chooseHead(advertisement, wanted, url);
  if (isObjectId(head)) wanted.set(detachedHeadRef, head);

  const changed = [...wanted].filter(([name, id]) => before.refs.get(name)?.id !== id);
  const isCurrent = changed.length === 0 && head === before.head;
  if (isCurrent && [...before.refs.keys()].every((name) => !isFollowed(name) || wanted.has(name))) return before;

  if (changed.length > 0) {
    const specs = [...followed.map((prefix) => `+${prefix}*:${prefix}*`), ...extras.map((name) => `+${name}:${name}`)];
    if (isObjectId(head)) specs.push(`+HEAD:${detachedHeadRef}`);
    await connection.download(specs);
    arrived();
  }
  const refs = new Map<string, Ref>();
  for (const [name, ref] of before.refs) {
    if (!isFollowed(name)) refs.set(name, ref);
  }
  for (const [name, id] of wanted) {
    const known = before.refs.get(name);
    refs.set(name, known?.id === id ? known : await peel(repository, id));
  }
  await checkTips(
    repository,
    changed.map(([, id]) => id),
  );
  const table = { head, refs };
  noteFormer(directory, await left(repository, before.refs, refs));
  writeMirrorRefs(directory, table);
  syncDirectory(directory);
  return table;
}

/** What `before` named and `after` may not lead to: references that are gone, and those that were moved elsewhere than forwards. */
async function left(
  repository: Repository,
  before: ReadonlyMap<string, Ref>,
  after: ReadonlyMap<string, Ref>,
): Promise<readonly string[]> {
  const found: string[] = [];
  for (const [name, { id, peeled = id }] of before) {
    const now = after.get(name);
    if (now?.id === id) continue;
    const next = now && git.Oid.fromString(now.peeled ?? now.id);
    // what is no commit leads nowhere, and is told so by an error
    const isForwards =
      next && (await git.Graph.reachableFromAny(repository, git.Oid.fromString(peeled), [next]).catch(() => false));
    if (!isForwards) found.push(id);
  }
  return found;
}

function isFollowed(name: string): boolean {
  return followed.some((prefix) => name.startsWith(prefix));
}

/** The full ref that a mirror's HEAD is to name, or the id that it is to be detached at. */
function chooseHead(advertisement: Advertisement, wanted: ReadonlyMap<string, string>, url: string): string {
  if (advertisement.head) return advertisement.head;
  const named = (branch: string): boolean => wanted.has(`refs/heads/${branch}`);
  if (advertisement.headId) {
    // Detached, or a server too old to say: as git does, the branch at the same commit, main and master first.
    const same = [...wanted].filter(([name, id]) => name.startsWith("refs/heads/") && id === advertisement.headId);
    const names = same.map(([name]) => name).sort();
    return (
      ["refs/heads/main", "refs/heads/master"].find((name) => names.includes(name)) ?? names[0] ?? advertisement.headId
    );
  }
  const told = unbornHead(url);
  if (told && (wanted.size === 0 || wanted.has(told))) return told;
  // A HEAD that names a branch which does not exist is not advertised.
  const branches = [...wanted.keys()].filter((name) => name.startsWith("refs/heads/"));
  if (named("main")) return "refs/heads/main";
  if (named("master")) return "refs/heads/master";
  return branches.length === 1 ? (branches[0] as string) : (told ?? unbornBranch);
}

/** Where HEAD of a local upstream points, read as a plain file: an empty repository does not advertise it. */
function unbornHead(url: string): string | undefined {
  const path = localPath(url);
  if (path === undefined) return undefined;
  for (const file of [join(path, ".git", "HEAD"), join(path, "HEAD"), join(`${path}.git`, "HEAD")]) {
    try {
      const match = /^ref: (refs\/heads\/\S+)\s*$/.exec(readFileSync(file, "utf8"));
      if (match?.[1] && isRefName(match[1])) return match[1];
    } catch {
      // Not this one.
    }
  }
  return undefined;
}

function localPath(url: string): string | undefined {
  const path = url.startsWith("file://") ? fileURLToPath(url) : url;
  return path.startsWith("/") ? path : undefined;
}

/** Removes what a killed fetch left. Only one fetch at a time runs on a mirror, so nothing of it is in use. */
function removeLeftovers(directory: string): void {
  removeTree(join(directory, viewName));
  const packs = join(directory, "objects", "pack");
  for (const name of readdirSync(packs)) {
    if (!name.startsWith("pack_git2_") && !name.startsWith("tmp_")) continue;
    if (statSync(join(packs, name)).isFile()) rmSync(join(packs, name), { force: true });
  }
}
