/**
 * Owns the upstream repositories: real ones, made by `git fast-import`, the same bytes at every run.
 *
 * A repository has `files` files in directories of 100, a `.gitignore` that ignores `build/`, and 11 commits of `main`:
 * the first has everything, each later one changes 100 files (or a fifth of a smaller repository's).
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { git } from "./git-command.js";

const filesPerDirectory = 100;
const laterCommits = 10;
const firstSecond = 1_700_000_000;

export class Upstream {
  readonly path: string;
  readonly files: number;
  #commits = 0;

  private constructor(path: string, files: number) {
    this.path = path;
    this.files = files;
  }

  static async make(root: string, name: string, files: number): Promise<Upstream> {
    const upstream = new Upstream(join(root, `${name}.git`), files);
    await mkdir(upstream.path, { recursive: true });
    await git(upstream.path, ["init", "--quiet", "--bare", "--initial-branch=main", "."]);
    await upstream.#import(upstream.#everything());
    return upstream;
  }

  /** Adds a commit that changes so many files, spread evenly. */
  async change(count: number): Promise<void> {
    await this.#import([...this.#commitHead("main^0"), ...this.#changes(count)]);
  }

  /** Paths of so many files, spread evenly; other `shift`s answer others. */
  paths(count: number, shift = 0): readonly string[] {
    const step = Math.max(Math.floor(this.files / count), 1);
    return Array.from({ length: count }, (_, i) => pathOf((i * step + shift) % this.files));
  }

  async #import(lines: Iterable<string>): Promise<void> {
    await git(this.path, ["fast-import", "--quiet", "--force"], Readable.from(lines));
  }

  *#everything(): Iterable<string> {
    yield* this.#commitHead("");
    yield file(".gitignore", "build/\n*.log\n");
    for (let i = 0; i < this.files; i++) yield file(pathOf(i), contentOf(i, 0));
    for (let i = 0; i < laterCommits; i++) {
      yield* this.#commitHead("");
      yield* this.#changes(Math.min(100, Math.ceil(this.files / 5)));
    }
  }

  #commitHead(from: string): string[] {
    this.#commits++;
    const message = `change ${this.#commits}`;
    return [
      `commit refs/heads/main\ncommitter bench <bench@example.com> ${firstSecond + this.#commits} +0000\n`,
      `data ${message.length}\n${message}\n`,
      from ? `from refs/heads/${from}\n` : "",
    ];
  }

  *#changes(count: number): Iterable<string> {
    const step = Math.max(Math.floor(this.files / count), 1);
    for (let i = 0; i < count; i++) {
      const number = (i * step + this.#commits) % this.files;
      yield file(pathOf(number), contentOf(number, this.#commits));
    }
    yield "\n";
  }
}

function pathOf(number: number): string {
  const directory = Math.floor(number / filesPerDirectory);
  return `part${String(directory % 20).padStart(2, "0")}/module${directory}/source${number}.ts`;
}

/** About 700 bytes that differ from file to file. */
function contentOf(number: number, version: number): string {
  const line = `export const value${number} = "version ${version} of file ${number}";\n`;
  return line.repeat(Math.ceil(700 / line.length));
}

function file(path: string, content: string): string {
  return `M 100644 inline ${path}\ndata ${content.length}\n${content}\n`;
}
