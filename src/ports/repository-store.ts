/** The port to repositories and the state of their mirrors. Contract as in lease-store.ts. */
import type {
  Mirror,
  MirrorProgress,
  MirrorState,
  Repository,
  RepositoryOverview,
  RepositorySettings,
} from "../domain/repository.js";

export type RegisterOutcome =
  | { readonly kind: "registered" | "same"; readonly repository: Repository }
  /** The name is taken by another URL, or the URL by another name, or the settings differ. */
  | { readonly kind: "differs"; readonly existing: Repository };

export interface MirrorUpdate {
  readonly state: MirrorState;
  readonly problem: string;
  readonly defaultBranch: string;
  /** Another digest than the stored one raises `refsVersion` and writes MIRROR_CHANGED. */
  readonly digest: string;
  /** How long ago the fetch began, in milliseconds; undefined if nothing was fetched. */
  readonly fetchedMsAgo?: number;
  /** Where it was fetched. If the repository has moved from there meanwhile, the mirror counts as never fetched. */
  readonly url?: string;
}

/** How much there is that a removal without force would end or leave behind. */
export interface StandsAgainst {
  readonly leases: number;
  readonly quarantined: number;
  /** That have not expired. */
  readonly salvages: number;
}

export interface RepositoryStore {
  /** Registers; atomic by name and by URL. An empty `name` is derived, and made unique, from the URL. */
  register(name: string, settings: RepositorySettings): Promise<RegisterOutcome>;
  byName(name: string): Promise<Repository | undefined>;
  byUrl(url: string): Promise<Repository | undefined>;
  byId(id: number): Promise<Repository | undefined>;
  /** Another `url` makes every mirror of it count as never fetched, in a version of its own. */
  update(name: string, changes: Partial<RepositorySettings>): Promise<Repository | undefined>;
  list(
    after: string,
    limit: number,
    labels: Readonly<Record<string, string>>,
    name?: string,
  ): Promise<readonly RepositoryOverview[]>;
  /** Begins the removal: idle workspaces go, leases end if forced; salvages stay. */
  remove(
    name: string,
    force: boolean,
  ): Promise<{ readonly kind: "removing" | "unknown" } | ({ readonly kind: "in-use" } & StandsAgainst)>;
  /** Names of repositories that are being removed and have no workspaces left: their mirrors can go. */
  removable(): Promise<readonly string[]>;
  /** Goes on with all removals, and deletes the rows of those named ones that have no workspaces left: only then are their names
   * free again. Closes their sessions. Answers which those were. */
  finishRemovals(names: readonly string[]): Promise<readonly string[]>;
  /** The owned host's mirror of the repository. */
  mirror(repositoryId: number): Promise<Mirror | undefined>;
  /** Stores the state of the owned host's mirror, with its events. */
  updateMirror(repositoryId: number, update: MirrorUpdate): Promise<Mirror>;
  /** Stores the problem of the owned host's mirror, if it is READY. */
  noteProblem(repositoryId: number, problem: string): Promise<void>;
  /** How far the first making of the owned host's mirror is. Writes MIRROR_PROGRESS at every tenth. */
  reportProgress(repositoryId: number, progress: MirrorProgress): Promise<void>;
  /** Repositories without a whole mirror on the owned host whose time to try (again) has come. */
  dueMirrors(limit: number): Promise<readonly Repository[]>;
}
