/**
 * Owns what a scan sees of a workspace: its files as a tree, and where its HEAD is.
 *
 * Invariants:
 * 1. The workspace's files, index, refs and objects are read and never written. Trees, and the contents of files that
 *    were changed, are kept in a repository of the scan's own.
 * 2. Trees are whole in that repository, so that what an agent does to its own objects never breaks a scan.
 */
import { randomUUID } from "node:crypto";
import { copyFile, lstat, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type GitAnswer, GitError, type GitOptions, runGit } from "./git-command.js";
import { removeOld } from "./scan-state.js";

export interface Snapshot {
  readonly tree: string;
  /** What git says of files that it could not read; they count as unchanged. */
  readonly problems: readonly string[];
}

const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

/** How often a snapshot is tried while files vanish under it. */
const attempts = 12;

/** Unreferenced objects above this number are removed. */
const mostLooseObjects = 4_000;

export class ScanTree {
  /** The workspace. */
  readonly directory: string;
  readonly #dotGit: string;
  readonly #repository: string;
  readonly #index: string;
  readonly #signal: AbortSignal | undefined;

  private constructor(directory: string, home: string, signal: AbortSignal | undefined) {
    this.directory = directory;
    this.#dotGit = join(directory, ".git");
    this.#repository = join(home, "repository");
    this.#index = join(this.#repository, "index");
    this.#signal = signal;
  }

  /** Makes the scan's repository if it is not there. */
  static async open(directory: string, home: string, signal: AbortSignal | undefined): Promise<ScanTree> {
    const tree = new ScanTree(directory, home, signal);
    if ((await stat(tree.#repository).catch(() => undefined)) !== undefined) return tree;
    const made = join(home, `${randomUUID()}.new`);
    await mkdir(home, { recursive: true });
    const options = { directory: home, environment: {}, signal };
    await runGit(["init", "--quiet", "--bare", "--object-format=sha1", "--template=", made], options);
    await mkdir(join(made, "info"), { recursive: true });
    // of two that make it at the same time one comes second
    await rename(made, tree.#repository).catch(() => rm(made, { recursive: true, force: true }));
    return tree;
  }

  /** Runs git on the scan's repository, with the workspace's objects for reading. */
  read(args: readonly string[], options: Partial<GitOptions> = {}): Promise<GitAnswer> {
    return this.#git(args, { GIT_ALTERNATE_OBJECT_DIRECTORIES: quoted(join(this.#dotGit, "objects")) }, options);
  }

  /** Full id of the commit that HEAD is at; empty on a branch without commits. */
  async head(): Promise<string> {
    const environment = { GIT_DIR: this.#dotGit };
    const options = { directory: this.directory, environment, signal: this.#signal, tolerated: [1, 128] };
    const answer = await runGit(["rev-parse", "--verify", "--quiet", "HEAD"], options);
    if (answer.status === 128)
      throw new GitError(`the workspace's .git cannot be read: ${answer.complaint.trim()}`, "");
    return answer.output.toString("latin1").trim();
  }

  /** Ids of the commits that the remote-tracking branches are at. */
  async remoteTips(): Promise<string[]> {
    const options = { directory: this.directory, environment: { GIT_DIR: this.#dotGit }, signal: this.#signal };
    const format = "--format=%(objectname)";
    const { output } = await runGit(["for-each-ref", format, "refs/remotes"], options);
    return [...new Set(output.toString("latin1").split("\n"))].filter((id) => id !== "");
  }

  /** The tree of a commit, kept here; the empty one for an empty id. */
  async treeOf(commit: string): Promise<string> {
    const index = join(this.#repository, `index.${randomUUID()}`);
    try {
      if (commit === "") return await this.#written(index);
      await this.read(["read-tree", commit], { environment: { GIT_INDEX_FILE: index } });
      return await this.#written(index);
    } finally {
      await rm(index, { force: true });
    }
  }

  /** The files as they are, but for ignored ones. */
  async snapshot(): Promise<Snapshot> {
    await this.#copyExcludes();
    for (let attempt = 1; ; attempt++) {
      const index = join(this.#repository, `index.${randomUUID()}`);
      try {
        await this.#startFrom(index);
        const environment = { GIT_INDEX_FILE: index };
        const { complaint, status } = await this.#git(["add", "--all", "--ignore-errors"], environment, {
          tolerated: [1],
        });
        const tree = await this.#written(index);
        await rename(index, this.#index).catch(() => undefined);
        const lines = status === 0 ? [] : complaint.split("\n").filter((line) => line.startsWith("error: "));
        return { tree, problems: lines.map((line) => line.slice("error: ".length)) };
      } catch (error) {
        if (!(error instanceof GitError) || attempt === attempts) throw error;
        // a file vanished between being listed and being read; agents are at work
        await pause(20 * attempt);
      } finally {
        await rm(index, { force: true });
        await rm(`${index}.lock`, { force: true });
      }
    }
  }

  /** Removes objects that no tree of `kept` needs, now and then, and what killed scans left. */
  async tidy(kept: readonly string[]): Promise<void> {
    for (const name of await readdir(this.#repository)) {
      if (name.startsWith("index.")) await removeOld(join(this.#repository, name));
    }
    const { output } = await this.#git(["count-objects"], {});
    if (Number.parseInt(output.toString("latin1"), 10) <= mostLooseObjects) return;
    // an hour old at least: another scan may be about to use what is new
    await this.read(["prune", "--expire=1.hour.ago", ...kept], { tolerated: [1, 128] });
  }

  /**
   * Begins with what is known: the index of the last scan, or the workspace's own, whose entries say of files that are
   * as they were checked out which contents they have, large ones behind a filter included.
   */
  async #startFrom(index: string): Promise<void> {
    if (await copied(this.#index, index)) return;
    if (!(await copied(join(this.#dotGit, "index"), index))) return;
    const environment = { GIT_INDEX_FILE: index };
    try {
      const { output } = await this.#git(["ls-files", "-v", "-z"], environment);
      const unwatched = output
        .toString("latin1")
        .split("\0")
        .filter((entry) => /^[a-z] /.test(entry));
      if (unwatched.length === 0) return;
      const input = Buffer.from(unwatched.map((entry) => `${entry.slice(2)}\0`).join(""), "latin1");
      await this.#git(["update-index", "--no-assume-unchanged", "-z", "--stdin"], environment, { input });
    } catch (error) {
      if (!(error instanceof GitError)) throw error;
      // broken, or of a kind that needs more files: everything is read
      await rm(index, { force: true });
    }
  }

  async #written(index: string): Promise<string> {
    // contents that only the workspace has are not missed: they are its own
    const { output } = await this.#git(["write-tree", "--missing-ok"], { GIT_INDEX_FILE: index });
    return output.toString("latin1").trim() || emptyTree;
  }

  async #copyExcludes(): Promise<void> {
    const theirs = join(this.#dotGit, "info", "exclude");
    const ours = join(this.#repository, "info", "exclude");
    const facts = await lstat(theirs).catch(() => undefined);
    const text = facts?.isFile() && facts.size < 1024 * 1024 ? await readFile(theirs) : Buffer.alloc(0);
    const known = await readFile(ours).catch(() => Buffer.alloc(0));
    if (known.equals(text)) return;
    const written = `${ours}.${randomUUID()}`;
    await writeFile(written, text);
    await rename(written, ours);
  }

  #git(
    args: readonly string[],
    environment: Readonly<Record<string, string>>,
    options: Partial<GitOptions> = {},
  ): Promise<GitAnswer> {
    return runGit(args, {
      directory: this.directory,
      signal: this.#signal,
      ...options,
      environment: {
        ...{ GIT_DIR: this.#repository, GIT_WORK_TREE: this.directory },
        ...environment,
        ...options.environment,
      },
    });
  }
}

/** Copies an index. Its time is what git judges entries by, so it is kept, rounded down: then git looks once more, not less. */
async function copied(from: string, to: string): Promise<boolean> {
  try {
    const facts = await lstat(from);
    // anything else would be waited for
    if (!facts.isFile()) return false;
    const { mtimeMs } = facts;
    await copyFile(from, to);
    const time = Math.floor(mtimeMs / 1_000);
    await utimes(to, time, time);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

/** As git reads a list of directories: quoted, since colons separate. */
function quoted(path: string): string {
  return `"${path.replace(/[\\"]/g, "\\$&")}"`;
}
