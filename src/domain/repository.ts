/**
 * Owns what a registered repository is, and its settings' defaults.
 */

export type MirrorState = "MIRRORING" | "READY" | "FAILED";
export type RepositoryState = MirrorState | "REMOVING";

export const repositoryNamePattern = /^[a-z0-9][a-z0-9._-]{0,62}$/;
export const defaultMaxWorkspaces = 100;

/** What a caller may set. */
export interface RepositorySettings {
  readonly url: string;
  readonly minIdle: number;
  readonly maxWorkspaces: number;
  readonly stablePath: boolean;
  /** Name of a configured credential; empty: the one whose prefix fits. */
  readonly credential: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly paused: boolean;
  /** How long salvages that are made from now on are kept. */
  readonly salvageTtlMs: number;
}

export interface Repository extends RepositorySettings {
  readonly id: number;
  readonly name: string;
  readonly removing: boolean;
  readonly createTime: Date;
}

export interface MirrorProgress {
  readonly receivedObjects: number;
  readonly totalObjects: number;
  readonly receivedBytes: number;
}

/** One host's mirror of a repository. */
export interface Mirror {
  readonly state: MirrorState;
  readonly problem: string;
  /** Without `refs/heads/`; empty before the first fetch or without commits. */
  readonly defaultBranch: string;
  /** Rises by one whenever a fetch changed any ref. */
  readonly refsVersion: bigint;
  readonly fetchTime?: Date;
  /** Milliseconds since `fetchTime` when it was read, on the database's clock. */
  readonly fetchAgeMs?: number;
  readonly progress?: MirrorProgress;
}

export interface WorkspaceCounts {
  readonly preparing: number;
  readonly idle: number;
  readonly leased: number;
  readonly cleaning: number;
  readonly quarantined: number;
}

/** A repository with its mirror on one host and its workspaces on all. */
export interface RepositoryOverview {
  readonly repository: Repository;
  readonly mirror?: Mirror;
  readonly counts: WorkspaceCounts;
}

/** Directory-safe name of a mirror: the repository's name is one path segment by its pattern. */
export function mirrorDirectory(name: string): string {
  return `${name}.git`;
}
