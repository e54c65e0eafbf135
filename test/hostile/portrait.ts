/**
 * Owns: what a workspace looks like from outside, by plain `git` and a walk of the file system, for comparing it with a
 * fresh `git clone`. Shares nothing with the product.
 *
 * 1. What legitimately differs between two clones is left out here, and nowhere else:
 *    - times, inode numbers, owners' names;
 *    - git's template: samples of hooks, `description`, `branches/`, comments in `info/exclude`;
 *    - whether a ref or an object is loose or packed: refs and objects are compared as git tells them, and whatever lies
 *      among their files without being one of them is told;
 *    - who cloned when (reflogs: the ids are compared), and extensions of the index but for their names.
 * 2. Looking changes nothing: no optional locks, no refresh.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { lstat, readdir, readFile, readlink } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Nothing of the machine's or the user's configuration, and none of the workspace's own programs is asked for. */
export const plainEnvironment: NodeJS.ProcessEnv = {
  PATH: process.env.PATH,
  HOME: "/nonexistent",
  LC_ALL: "C.UTF-8",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_ATTR_NOSYSTEM: "1",
  GIT_TERMINAL_PROMPT: "0",
  GIT_OPTIONAL_LOCKS: "0",
};

export async function plainGit(directory: string, ...args: readonly string[]): Promise<string> {
  const options = { cwd: directory, env: plainEnvironment, maxBuffer: 1 << 28, encoding: "latin1" } as const;
  try {
    return (await run("git", args, options)).stdout;
  } catch (error) {
    const { code, stderr, stdout } = error as { code?: number; stderr?: string; stdout?: string };
    return `git ${args[0]} failed with ${code}: ${stdout}${stderr}`;
  }
}

/** Every aspect by name, each as lines. Equal portraits: nothing tells the two apart. */
export type Portrait = Readonly<Record<string, readonly string[]>>;

export async function portrait(path: string): Promise<Portrait> {
  const git = async (...args: readonly string[]) => (await plainGit(path, ...args)).split(/[\0\n]/).filter(Boolean);
  const [files, meta, status, config, refs, index, stashes, worktrees, fsck, objects, head] = await Promise.all([
    walk(path, (name) => name === ".git"),
    walk(`${path}/.git`, () => false),
    git("status", "--porcelain", "--ignored", "--branch", "--untracked-files=all", "-z"),
    git("config", "--local", "--list", "-z"),
    git("for-each-ref", "--format=%(refname) %(objecttype) %(objectname) %(symref) %(upstream)"),
    git("ls-files", "-v", "-s", "-f", "-z"),
    git("stash", "list"),
    git("worktree", "list", "--porcelain"),
    git("fsck", "--full", "--no-progress"),
    git("cat-file", "--batch-all-objects", "--batch-check", "--unordered"),
    git("rev-parse", "HEAD", "--symbolic-full-name", "HEAD"),
  ]);
  return {
    files: files.map(show),
    status,
    config: [...config].sort(),
    refs,
    index,
    stashes,
    worktrees: worktrees.filter((line) => line !== `worktree ${path}`),
    fsck,
    objects: objects.sort(),
    head,
    git: await judgeGitDirectory(meta, refs),
    reflogs: await reflogs(path, meta),
    indexFile: await indexForm(`${path}/.git/index`),
  };
}

/** One path of a walk. `name` has a byte per character. */
export interface Found {
  readonly name: string;
  readonly kind: "directory" | "file" | "symlink" | "special";
  readonly mode: number;
  readonly links: number;
  readonly content: string;
}

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

/** Everything below `root`, itself as `.`, sorted; follows no symlink and opens regular files only. */
export async function walk(root: string, isLeftOut: (name: string) => boolean): Promise<Found[]> {
  const base = Buffer.from(root).toString("latin1");
  const found: Found[] = [];
  const visit = async (name: string): Promise<void> => {
    const place = bytes(name === "." ? base : `${base}/${name}`);
    const stat = await lstat(place);
    const [mode, links] = [stat.mode & 0o7777, stat.isDirectory() ? 1 : stat.nlink];
    if (stat.isSymbolicLink()) {
      found.push({ name, kind: "symlink", mode, links, content: await readlink(place, "latin1") });
    } else if (stat.isFile()) {
      const content = createHash("sha256")
        .update(await readFile(place))
        .digest("hex");
      found.push({ name, kind: "file", mode, links, content });
    } else if (!stat.isDirectory()) found.push({ name, kind: "special", mode, links, content: "" });
    else {
      found.push({ name, kind: "directory", mode, links, content: "" });
      for (const entry of await readdir(place, { encoding: "buffer" })) {
        const path = name === "." ? entry.toString("latin1") : `${name}/${entry.toString("latin1")}`;
        if (!isLeftOut(path)) await visit(path);
      }
    }
  };
  await visit(".");
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

export function show({ name, kind, mode, links, content }: Found): string {
  return `${JSON.stringify(name)} ${kind} ${mode.toString(8)} ${links} ${content}`;
}

const template = /^(hooks(\/[^/]+\.sample)?|description|branches|info)$/;
const objectNames =
  /^objects(\/(info|pack|[0-9a-f]{2}|[0-9a-f]{2}\/[0-9a-f]{38}|pack\/pack-[0-9a-f]{40}\.(pack|idx|rev)))?$/;

/** Names, kinds and modes in `.git`; of refs and objects only what is not one. */
async function judgeGitDirectory(found: readonly Found[], refs: readonly string[]): Promise<string[]> {
  const known = new Set(refs.map((line) => line.split(" ", 1)[0]));
  const lines: string[] = [];
  for (const one of found) {
    const { name, kind, mode } = one;
    const isPlain = kind === "file" || kind === "directory";
    if (isPlain && (template.test(name) || name === "packed-refs")) continue;
    if (isPlain && objectNames.test(name)) continue;
    if (isPlain && /^refs(\/|$)/.test(name) && (kind === "directory" || known.has(name))) continue;
    if (name === "info/exclude" && kind === "file") continue;
    lines.push(`${name} ${kind} ${mode.toString(8)}`);
  }
  return lines;
}

async function reflogs(path: string, meta: readonly Found[]): Promise<string[]> {
  const logs = meta.filter(({ name, kind }) => kind === "file" && name.startsWith("logs/"));
  const lines = logs.map(async ({ name }) => {
    const text = await readFile(`${path}/.git/${name}`, "latin1");
    return text.split("\n").map((line) => `${name} ${line.slice(0, 81)}`);
  });
  const excluded = await readFile(`${path}/.git/info/exclude`, "latin1").catch(() => "");
  const rules = excluded.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return [...(await Promise.all(lines)).flat(), ...rules.map((rule) => `info/exclude ${rule}`)];
}

/** Version and names of extensions but for the cache of trees, which git makes and leaves out as it likes. */
async function indexForm(path: string): Promise<string[]> {
  const file = await readFile(path).catch(() => undefined);
  if (!file) return ["no index"];
  const text = file.toString("latin1");
  const names = ["link", "UNTR", "FSMN", "sdir", "EOIE", "IEOT", "REUC"].filter((name) => text.includes(name));
  return [`version ${file.readUInt32BE(4)}`, ...names];
}
