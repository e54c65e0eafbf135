/**
 * Owns the proto names of a repository's settings, in one table.
 *
 * Invariant: every setting has one, and a rule in field-limits.ts; the compiler sees to it.
 */
import type { RepositorySettings } from "../domain/repository.js";

export const protoNames = {
  url: "url",
  minIdle: "min_idle",
  maxWorkspaces: "max_workspaces",
  stablePath: "stable_path",
  credential: "credential",
  labels: "labels",
  paused: "paused",
  salvageTtlMs: "salvage_ttl",
  objectStorage: "object_storage",
  killStragglers: "kill_stragglers",
  salvageIgnored: "salvage_ignored",
  shareDependencies: "share_dependencies",
  idleTtlMs: "idle_ttl",
} as const satisfies Readonly<Record<keyof RepositorySettings, string>>;

export type SettingName = (typeof protoNames)[keyof RepositorySettings];

/** Names of `update_mask`, in the order of the proto's comment. */
export const updatableSettings: readonly SettingName[] = Object.values(protoNames);
