/**
 * Owns: upstream repositories on this disk, made and pushed to with the real git, as its users do.
 *
 * 1. git runs without any configuration of the machine or the user.
 */
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export const gitEnvironment: NodeJS.ProcessEnv = {
  PATH: process.env.PATH,
  HOME: "/nonexistent",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_TERMINAL_PROMPT: "0",
  GIT_AUTHOR_NAME: "Author",
  GIT_AUTHOR_EMAIL: "author@example.com",
  GIT_COMMITTER_NAME: "Committer",
  GIT_COMMITTER_EMAIL: "committer@example.com",
  LC_ALL: "C",
};

/** Runs git in a directory; answers its output without the last newline. Fails with what it complained of. */
export async function git(directory: string, ...args: string[]): Promise<string> {
  const { stdout } = await run("git", args, { cwd: directory, env: gitEnvironment, maxBuffer: 64 << 20 });
  return stdout.replace(/\n$/, "");
}

export class Upstream {
  /** The bare repository. */
  readonly url: string;
  readonly #work: string;

  private constructor(url: string, work: string) {
    this.url = url;
    this.#work = work;
  }

  /** An empty repository `<root>/<name>.git`. */
  static async empty(root: string, name: string, branch = "main"): Promise<Upstream> {
    const url = join(root, `${name}.git`);
    const work = join(root, `${name}.work`);
    await mkdir(root, { recursive: true });
    await git(root, "init", "--quiet", "--bare", `--initial-branch=${branch}`, url);
    await git(root, "init", "--quiet", `--initial-branch=${branch}`, work);
    await git(work, "remote", "add", "origin", url);
    return new Upstream(url, work);
  }

  /** One with a commit that has a file or two. */
  static async make(root: string, name: string, files: Readonly<Record<string, string>> = {}): Promise<Upstream> {
    const upstream = await Upstream.empty(root, name);
    await upstream.commit({ "README.md": `# ${name}\n`, "src/main.txt": "one\n", ".gitignore": "*.log\n", ...files });
    return upstream;
  }

  /** Commits files to the branch that is checked out and pushes it. Answers the commit's id. */
  async commit(files: Readonly<Record<string, string>>, message = "A change"): Promise<string> {
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(join(this.#work, path)), { recursive: true });
      await writeFile(join(this.#work, path), content);
    }
    await this.git("add", "--all");
    await this.git("commit", "--quiet", "--message", message);
    await this.git("push", "--quiet", "origin", "HEAD");
    return this.git("rev-parse", "HEAD");
  }

  /** git in a working clone of it. */
  git(...args: string[]): Promise<string> {
    return git(this.#work, ...args);
  }
}
