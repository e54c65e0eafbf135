/**
 * Owns the door to libgit2: the only file that imports nodegit, with types for the parts that are used.
 *
 * Invariants:
 * 1. A repository is open only inside `withRepository`, which frees what libgit2 holds of it.
 * 2. Callbacks given to nodegit never throw, never reject and never return a number where it is not listed
 *    (a number from the credential callback aborts the process).
 */
import { createRequire } from "node:module";

export interface Oid {
  toString(): string;
}

export interface OdbObject {
  id(): Oid;
  size(): number;
  /** `objectType` below. */
  type(): number;
  data(): { toBuffer(size: number): Buffer };
}

export interface Odb {
  /** Null if there is no such object. Use `readObject` or `findObject`. */
  read(id: Oid): Promise<OdbObject | null>;
}

export interface Tree {
  id(): Oid;
}

export interface Commit {
  id(): Oid;
  treeId(): Oid;
  getTree(): Promise<Tree>;
}

export interface DiffFile {
  id(): Oid;
  path(): string;
  mode(): number;
}

export interface Diff {
  numDeltas(): number;
  getDelta(index: number): { oldFile(): DiffFile; newFile(): DiffFile; status(): number };
}

export interface Index {
  path(): string;
  entryCount(): number;
  readTree(tree: Tree): Promise<number>;
  removeByPath(path: string): Promise<number>;
  addByPath(path: string): Promise<number>;
  write(): Promise<number>;
}

export interface Repository {
  path(): string;
  odb(): Promise<Odb>;
  index(): Promise<Index>;
  setWorkdir(path: string, updateGitlink: number): number;
  cleanup(): void;
}

export interface RemoteHead {
  name(): string;
  oid(): Oid;
  symrefTarget(): string | null;
}

export interface TransferProgress {
  receivedObjects(): number;
  totalObjects(): number;
  receivedBytes(): number;
}

export interface RemoteCallbacks {
  credentials?: (url: string, usernameFromUrl: string, allowedTypes: number) => unknown;
  transferProgress?: { throttle: number; callback: (progress: TransferProgress) => void };
}

export interface Remote {
  connect(direction: number, callbacks: RemoteCallbacks, proxy: object, headers: string[]): Promise<void>;
  referenceList(): Promise<RemoteHead[]>;
  download(refspecs: string[], options: { callbacks: RemoteCallbacks; downloadTags: number }): Promise<void>;
  disconnect(): Promise<void>;
}

export interface Revwalk {
  /** References that lead to no commit are passed over. */
  pushGlob(glob: string): unknown;
}

/** Writes nothing in nodegit: there is no function for that. */
export interface Packbuilder {
  insertWalk(walk: Revwalk): Promise<unknown>;
  insertRecur(id: Oid, name: string): Promise<unknown>;
  objectCount(): number;
}

export interface CheckoutOptions {
  checkoutStrategy: number;
  disableFilters?: number;
  paths?: readonly string[];
}

interface NodeGit {
  Repository: {
    open(path: string): Promise<Repository>;
    openBare(path: string): Promise<Repository>;
    init(path: string, bare: number): Promise<Repository>;
  };
  Remote: { createAnonymous(repository: Repository, url: string): Promise<Remote> };
  Credential: {
    userpassPlaintextNew(username: string, password: string): unknown;
    usernameNew(username: string): Promise<unknown>;
    sshKeyMemoryNew(username: string, publicKey: string, privateKey: string, passphrase: string): unknown;
  };
  Blob: { createFromWorkdir(repository: Repository, path: string): Promise<Oid> };
  Commit: { lookup(repository: Repository, id: string | Oid): Promise<Commit> };
  Tree: { lookup(repository: Repository, id: string | Oid): Promise<Tree> };
  Checkout: { tree(repository: Repository, treeish: Commit | Tree, options: CheckoutOptions): Promise<void> };
  Diff: {
    treeToTree(
      repository: Repository,
      from: Tree | null,
      to: Tree,
      options?: { flags?: number; pathspec?: string[] },
    ): Promise<Diff>;
    indexToWorkdir(
      repository: Repository,
      index: Index,
      options?: { flags?: number; pathspec?: string[] },
    ): Promise<Diff>;
  };
  Graph: {
    reachableFromAny(repository: Repository, commit: Oid, tips: Oid[]): Promise<boolean | number>;
  };
  Attr: { get(repository: Repository, flags: number, path: string, name: string): Promise<string> | string };
  Packbuilder: {
    create(repository: Repository): Promise<Packbuilder>;
  };
  Revwalk: { create(repository: Repository): Revwalk };
  Oid: { fromString(hex: string): Oid };
  Libgit2: { opts(option: number, value: number): unknown };
}

const require = createRequire(import.meta.url);
export const git = require("nodegit") as NodeGit;

export const objectType = { commit: 1, tree: 2, blob: 3, tag: 4 } as const;

/** `GIT_CHECKOUT_*` of libgit2. */
export const checkoutStrategy = { force: 1 << 1, noRefresh: 1 << 9, disablePathspecMatch: 1 << 13 } as const;

/** `GIT_OPT_ENABLE_FSYNC_GITDIR` of libgit2: objects and references are synced to disk. */
const optEnableFsync = 19;

export function enableFsync(): void {
  git.Libgit2.opts(optEnableFsync, 1);
}

/** Opens, works, and frees whatever happens (invariant 1). */
export async function withRepository<T>(path: string, work: (repository: Repository) => Promise<T>): Promise<T> {
  const repository = await git.Repository.open(path);
  try {
    return await work(repository);
  } finally {
    repository.cleanup();
  }
}

/** Undefined if the object is not there. Throws if it is there and cannot be read. */
export async function findObject(odb: Odb, id: string): Promise<OdbObject | undefined> {
  return (await odb.read(git.Oid.fromString(id))) ?? undefined;
}

export async function readObject(odb: Odb, id: string): Promise<OdbObject> {
  const object = await findObject(odb, id);
  if (!object) throw new Error(`object ${id} is missing`);
  return object;
}

export function bytesOf(object: OdbObject): Buffer {
  return object.data().toBuffer(object.size());
}
