/**
 * Owns what a registered repository is, and its settings' defaults.
 */
import { defaultSalvageTtlMs } from "./salvage.js";

export type MirrorState = "MIRRORING" | "READY" | "FAILED";
export type RepositoryState = MirrorState | "REMOVING";

/** How objects of the mirror get into a workspace; AUTO: copies that share blocks, else hard links. */
export const objectStorages = ["AUTO", "COPY", "LINK"] as const;
export type ObjectStorage = (typeof objectStorages)[number];

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
  readonly objectStorage: ObjectStorage;
  /** End processes that still use a workspace after its lease. */
  readonly killStragglers: boolean;
  /** Globs of ignored files that are salvaged nevertheless. */
  readonly salvageIgnored: readonly string[];
  /** Give dependencies that one caller installed to all callers. */
  readonly shareDependencies: boolean;
  /** Idle workspaces above `minIdle` go after so long, in ms; 0: they stay. */
  readonly idleTtlMs: number;
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
  readonly parked: number;
}

/** A repository with its mirror on one host and its workspaces on all. */
export interface RepositoryOverview {
  readonly repository: Repository;
  readonly mirror?: Mirror;
  readonly counts: WorkspaceCounts;
  /** Of that mirror; unset until it was measured. */
  readonly mirrorBytes?: number;
  /** Of everything of it on all hosts, as far as it was measured. */
  readonly bytes: number;
  /** Name of the configured forge that its upstream is on; unset if it is on none. */
  readonly forge?: string;
}

/** Directory-safe name of a mirror: the repository's name is one path segment by its pattern. */
export function mirrorDirectory(name: string): string {
  return `${name}.git`;
}

/** What is not set otherwise. */
export const defaultSettings: Omit<RepositorySettings, "url"> = {
  minIdle: 0,
  maxWorkspaces: defaultMaxWorkspaces,
  stablePath: false,
  credential: "",
  labels: {},
  paused: false,
  salvageTtlMs: defaultSalvageTtlMs,
  objectStorage: "AUTO",
  killStragglers: false,
  salvageIgnored: [],
  shareDependencies: false,
  idleTtlMs: 0,
};
