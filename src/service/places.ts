/**
 * Owns where on this host things are.
 *
 * Invariant: everything is below the data directory, the mirror root or the workspace root, by names that are one segment.
 */
import { join } from "node:path";
import { mirrorDirectory, type Repository } from "../domain/repository.js";

export class Places {
  readonly mirrorRoot: string;
  readonly workspaceRoot: string;
  /** On the file system of the workspaces, so that moving something there is one rename. */
  readonly trash: string;
  /** On the file system of the mirrors: where they are made. */
  readonly staging: string;
  /** On the file system of the mirrors: where they are removed. */
  readonly mirrorTrash: string;
  /** What is kept for repositories' dependencies; on the file system of the workspaces. */
  readonly dependencies: string;
  /** What proves that a workspace is ours, and untouched. */
  readonly indexes: string;
  readonly #salvages: string;

  constructor(dataDir: string, mirrorRoot: string, workspaceRoot: string) {
    this.mirrorRoot = mirrorRoot;
    this.workspaceRoot = workspaceRoot;
    const apart = !workspaceRoot.startsWith(`${dataDir}/`);
    this.trash = apart ? join(workspaceRoot, ".trash") : join(dataDir, "trash");
    this.dependencies = apart ? join(workspaceRoot, ".dependencies") : join(dataDir, "dependencies");
    this.staging = join(mirrorRoot, ".staging");
    this.mirrorTrash = join(mirrorRoot, ".trash");
    this.indexes = join(dataDir, "indexes");
    this.#salvages = join(dataDir, "salvages");
  }

  mirror(repository: Pick<Repository, "name">): string {
    return join(this.mirrorRoot, mirrorDirectory(repository.name));
  }

  /** The mirror of a submodule's upstream. `name` is one segment. */
  submodule(name: string): string {
    return join(this.mirrorRoot, ".modules", mirrorDirectory(name));
  }

  /** Where the mirrors of submodules' upstreams are. */
  get submodules(): string {
    return join(this.mirrorRoot, ".modules");
  }

  /** Where the repositories of salvages are. */
  get allSalvages(): string {
    return this.#salvages;
  }

  /** The bare repository that takes a repository's salvages. */
  salvages(repository: Pick<Repository, "name">): string {
    return join(this.#salvages, mirrorDirectory(repository.name));
  }

  /** What is kept for a repository's dependencies. */
  dependenciesOf(repository: Pick<Repository, "name">): string {
    return join(this.dependencies, repository.name);
  }

  /** The trusted copy of a workspace's index. */
  trustedIndex(workspaceId: string): string {
    return join(this.indexes, workspaceId);
  }
}
