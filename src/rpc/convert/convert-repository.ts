/** Owns the conversion of repositories and their settings. */
import { create } from "@bufbuild/protobuf";
import {
  MirrorProgressSchema,
  ObjectStorage,
  type Repository as RepositoryMessage,
  RepositorySchema,
  RepositoryState,
} from "../../../gen/leasehold/v1/repository_pb.js";
import {
  defaultMaxWorkspaces,
  type MirrorProgress,
  type RepositoryOverview,
  type RepositorySettings,
} from "../../domain/repository.js";
import { defaultSalvageTtlMs } from "../../domain/salvage.js";
import { protoNames } from "../repository-settings.js";
import { fromDate, fromMs, optionalMs } from "./convert-time.js";

export function toSettings(message: RepositoryMessage): RepositorySettings {
  const { url, minIdle, maxWorkspaces, stablePath, credential, labels, paused } = message;
  return {
    url,
    minIdle,
    maxWorkspaces: maxWorkspaces || defaultMaxWorkspaces,
    stablePath,
    credential,
    labels,
    paused,
    salvageTtlMs: optionalMs(message.salvageTtl) || defaultSalvageTtlMs,
    objectStorage: toStorage(message.objectStorage),
    killStragglers: message.killStragglers,
    salvageIgnored: message.salvageIgnored,
    shareDependencies: message.shareDependencies,
    idleTtlMs: optionalMs(message.idleTtl) ?? 0,
  };
}

/** The settings that the mask names; its paths have been checked. */
export function toChanges(message: RepositoryMessage, paths: readonly string[]): Partial<RepositorySettings> {
  const settings = toSettings(message);
  const names = Object.keys(protoNames) as (keyof RepositorySettings)[];
  return Object.fromEntries(
    names.filter((name) => paths.includes(protoNames[name])).map((name) => [name, settings[name]]),
  );
}

export function fromOverview({
  repository,
  mirror,
  counts,
  mirrorBytes,
  bytes,
  forge,
}: RepositoryOverview): RepositoryMessage {
  const state = repository.removing ? "REMOVING" : (mirror?.state ?? "MIRRORING");
  const message = create(RepositorySchema, {
    name: repository.name,
    url: repository.url,
    defaultBranch: mirror?.defaultBranch ?? "",
    state: RepositoryState[state],
    problem: mirror?.problem ?? "",
    workspaces: { ...counts },
    minIdle: repository.minIdle,
    maxWorkspaces: repository.maxWorkspaces,
    stablePath: repository.stablePath,
    credential: repository.credential,
    labels: { ...repository.labels },
    paused: repository.paused,
    salvageTtl: fromMs(repository.salvageTtlMs),
    objectStorage: ObjectStorage[repository.objectStorage],
    killStragglers: repository.killStragglers,
    salvageIgnored: [...repository.salvageIgnored],
    shareDependencies: repository.shareDependencies,
    createTime: fromDate(repository.createTime),
    mirrorBytes: BigInt(mirrorBytes ?? 0),
    totalBytes: BigInt(bytes),
    forge: forge ?? "",
  });
  if (repository.idleTtlMs > 0) message.idleTtl = fromMs(repository.idleTtlMs);
  if (mirror?.fetchTime) message.fetchTime = fromDate(mirror.fetchTime);
  if (mirror?.progress && state === "MIRRORING") setProgress(message, mirror.progress);
  return message;
}

function toStorage(storage: ObjectStorage): RepositorySettings["objectStorage"] {
  return storage === ObjectStorage.UNSPECIFIED
    ? "AUTO"
    : (ObjectStorage[storage] as RepositorySettings["objectStorage"]);
}

function setProgress(message: RepositoryMessage, progress: MirrorProgress): void {
  message.progress = create(MirrorProgressSchema, {
    receivedObjects: BigInt(progress.receivedObjects),
    totalObjects: BigInt(progress.totalObjects),
    receivedBytes: BigInt(progress.receivedBytes),
  });
}
