/**
 * Owns which files a commit's own `.gitignore` files call ignored.
 *
 * Invariant: only the commit's rules count. A `.gitignore` that a holder made or changed is itself work, and must
 * not hide other work.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { toFsPath, toText } from "./byte-path.js";
import type { IndexFile } from "./index-file.js";
import { git, type Repository } from "./nodegit.js";

const ignoreFile = /(^|\/)\.gitignore$/;
const regularFile = 0o100000;

export class IgnoreRules {
  private readonly repository: Repository;

  private constructor(repository: Repository) {
    this.repository = repository;
  }

  /** `repository`: one of ours whose working tree `directory` is empty; the rules are written there. */
  static async load(repository: Repository, directory: string, index: IndexFile): Promise<IgnoreRules> {
    const odb = await repository.odb();
    for (const [position, path] of index.paths.entries()) {
      if (!ignoreFile.test(path) || (index.mode(position) & 0o170000) !== regularFile) continue;
      const blob = await odb.read(git.Oid.fromString(index.id(position)));
      const place = join(directory, toText(path) ?? "");
      if (toText(path) === undefined) continue;
      mkdirSync(toFsPath(dirname(place)), { recursive: true });
      writeFileSync(place, blob.data().toBuffer(blob.size()));
    }
    return new IgnoreRules(repository);
  }

  /** `path`: bytes; with a trailing slash for a directory. What cannot be asked for is not ignored. */
  async ignores(path: string): Promise<boolean> {
    const text = toText(path);
    return text !== undefined && (await git.Ignore.pathIsIgnored(this.repository, text)) === 1;
  }
}
