/**
 * Owns temporary repositories for tests: made and looked at with the real `git` program, hermetically.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const environment = {
  PATH: process.env.PATH ?? "",
  HOME: "/nonexistent",
  LANG: "C.UTF-8",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_TERMINAL_PROMPT: "0",
  GIT_AUTHOR_NAME: "Ada",
  GIT_AUTHOR_EMAIL: "ada@example.com",
  GIT_COMMITTER_NAME: "Ada",
  GIT_COMMITTER_EMAIL: "ada@example.com",
};

/** Runs git in `directory` and answers its output without the last line feed. Throws if it fails. */
export function git(directory: string, ...args: readonly string[]): string {
  const { uid, gid } = statSync(directory);
  // git refuses a directory of somebody else, as it should
  const owner = process.getuid?.() === 0 && uid !== 0 ? { uid, gid } : {};
  const options = { cwd: directory, env: environment, maxBuffer: 1 << 28, ...owner };
  return execFileSync("git", args, { ...options, stdio: ["ignore", "pipe", "pipe"], encoding: "utf8" }).replace(
    /\n$/,
    "",
  );
}

/** A directory of the test's own; `remove` it when done. */
export class TemporaryDirectory {
  readonly path = mkdtempSync(join(tmpdir(), "leasehold-test-"));

  at(...parts: readonly string[]): string {
    return join(this.path, ...parts);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** What a file of a commit is to be: text or bytes, `{ link }`, `{ run }` for an executable, or null to remove it. */
export type FileContent = string | Uint8Array | { readonly link: string } | { readonly run: string } | null;

/** An upstream repository with a working tree. */
export class UpstreamRepository {
  readonly path: string;

  constructor(path: string, branch = "main") {
    this.path = path;
    mkdirSync(path, { recursive: true });
    git(path, "init", "-q", "-b", branch);
  }

  /** Writes files, commits, and answers the commit's id. */
  commit(message: string, files: Readonly<Record<string, FileContent>> = { [message]: `${message}\n` }): string {
    for (const [name, content] of Object.entries(files)) writeFile(join(this.path, name), content);
    git(this.path, "add", "-A");
    git(this.path, "commit", "-q", "--allow-empty", "-m", message);
    return this.id("HEAD");
  }

  git(...args: readonly string[]): string {
    return git(this.path, ...args);
  }

  id(revision: string): string {
    return this.git("rev-parse", revision);
  }
}

export function writeFile(path: string, content: FileContent): void {
  rmSync(path, { recursive: true, force: true });
  if (content === null) return;
  mkdirSync(dirname(path), { recursive: true });
  if (typeof content === "string" || content instanceof Uint8Array) return writeFileSync(path, content);
  if ("link" in content) return symlinkSync(content.link, path);
  writeFileSync(path, content.run);
  chmodSync(path, 0o755);
}
