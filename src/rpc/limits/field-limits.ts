/**
 * Owns the limits of every field of every request, in one table, as the proto's comments promise them.
 *
 * Invariants:
 * 1. Every request of our services has an entry, and every field of it a rule; the compiler and a test see to it.
 * 2. Whether a named thing exists is the service's to say; here is only what can be seen from the request alone.
 */
import type { Duration } from "@bufbuild/protobuf/wkt";
import {
  DiscardSalvageRequestSchema,
  GetServerInfoRequestSchema,
  GetUsageRequestSchema,
  ListHostsRequestSchema,
  ListRepositoriesRequestSchema,
  ListSalvagesRequestSchema,
  RefreshMirrorRequestSchema,
  RegisterRepositoryRequestSchema,
  RemoveHostRequestSchema,
  RemoveRepositoryRequestSchema,
  SweepRequestSchema,
  type UpdateRepositoryRequest,
  UpdateRepositoryRequestSchema,
  VerifyWorkspacesRequestSchema,
} from "../../../gen/leasehold/v1/admin_service_pb.js";
import { EventKindSchema } from "../../../gen/leasehold/v1/event_pb.js";
import { ObjectStorageSchema, type Repository } from "../../../gen/leasehold/v1/repository_pb.js";
import { WorkspaceStateSchema } from "../../../gen/leasehold/v1/workspace_pb.js";
import {
  AcquireRequestSchema,
  DispositionSchema,
  GetWorkspaceRequestSchema,
  HeartbeatRequestSchema,
  ListActiveRequestSchema,
  ReclaimRequestSchema,
  ReleaseRequestSchema,
  ResetRequestSchema,
  WatchRequestSchema,
} from "../../../gen/leasehold/v1/workspace_service_pb.js";
import { defaultMaxWorkspaces, repositoryNamePattern } from "../../domain/repository.js";
import { type SettingName, updatableSettings } from "../repository-settings.js";
import { checkKeepPaths, dependencyManifests, environment, keepPaths } from "./dependency-limits.js";
import {
  age,
  any,
  atLeast,
  duration,
  labels,
  list,
  oneOf,
  opaque,
  type Report,
  type Rule,
  text,
  whole,
} from "./field-rules.js";
import { branchFault, revisionFault } from "./git-names.js";
import { author, limits, pageTokenOf, type RequestLimits, subject } from "./request-limits.js";
import { sessionRequests } from "./session-limits.js";

const maxInt32 = 2_147_483_647;
const name = text({ max: 128 });
const requiredName = text({ max: 128, required: true });
const holder = text({ max: 256 });
const pageSize = whole(0, maxInt32);
const leaseName = opaque(128);
const binding = text({ max: 256 });

const salvagedGlob = text({
  max: 256,
  required: true,
  fault: (t) => (/^[!#]/.test(t) || t.split("/").includes("..") ? "begins with '!' or '#', or has '..'" : undefined),
});

/** 0 is the default. */
const salvageTtl: Rule<Duration | undefined> = (value, path, report) => {
  duration(value, path, report);
  const seconds = value?.seconds ?? 0n;
  if (value && (seconds > 3650n * 86_400n || (seconds < 1n && value.nanos > 0)))
    report(path, "is not 1 s to 3,650 days");
};

/** Rules of the settings that a caller may give, by their proto names. */
const settings: Readonly<Record<SettingName, (repository: Repository, path: string, report: Report) => void>> = {
  url: (r, path, report) => text({ max: 2048, required: true })(r.url, path, report),
  min_idle: (r, path, report) => whole(0, 1000)(r.minIdle, path, report),
  max_workspaces: (r, path, report) => whole(0, 10_000)(r.maxWorkspaces, path, report),
  stable_path: any,
  credential: (r, path, report) => name(r.credential, path, report),
  labels: (r, path, report) => labels(r.labels, path, report),
  paused: any,
  salvage_ttl: (r, path, report) => salvageTtl(r.salvageTtl, path, report),
  object_storage: (r, path, report) => oneOf(ObjectStorageSchema, "allowed")(r.objectStorage, path, report),
  kill_stragglers: any,
  salvage_ignored: (r, path, report) => list({ max: 64, each: salvagedGlob })(r.salvageIgnored, path, report),
  share_dependencies: any,
  idle_ttl: (r, path, report) => age(r.idleTtl, path, report),
};

function checkSettings(repository: Repository, names: readonly string[], report: Report): void {
  const known = updatableSettings.filter((setting) => names.includes(setting));
  for (const setting of known) settings[setting](repository, `repository.${setting}`, report);
  const hasBoth = names.includes("min_idle") && names.includes("max_workspaces");
  if (hasBoth && repository.minIdle > (repository.maxWorkspaces || defaultMaxWorkspaces)) {
    report("repository.min_idle", "is above max_workspaces");
  }
}

const newName = text({
  max: 63,
  pattern: { matches: repositoryNamePattern, described: "[a-z0-9][a-z0-9._-]{0,62}" },
});

function checkUpdate(message: UpdateRepositoryRequest, report: Report): void {
  const paths = message.updateMask?.paths ?? [];
  if (paths.length === 0) report("update_mask", "is required");
  for (const [index, path] of paths.entries()) {
    if (!(updatableSettings as readonly string[]).includes(path)) {
      report(`update_mask.paths[${index}]`, `is none of ${updatableSettings.join(", ")}`);
    }
  }
  if (message.repository) checkSettings(message.repository, paths, report);
  else report("repository", "is required");
}

const workspaceRequests = [
  limits(
    AcquireRequestSchema,
    {
      requestId: text({ max: 128, pattern: { matches: /^[\x20-\x7e]*$/, described: "printable ASCII" } }),
      repository: text({ max: 2048, required: true }),
      revision: text({ max: 512, fault: revisionFault }),
      host: name,
      holder,
      ttl: duration,
      wait: duration,
      labels,
      maxStaleness: duration,
      branch: text({ max: 255, fault: branchFault }),
      author,
      restoreSalvageId: text({ max: 64 }),
      binding,
      subject,
      dependencyManifests,
      environment,
      keepPaths,
    },
    ({ branch, restoreSalvageId, keepPaths: kept, dependencyManifests: manifests }, report) => {
      checkKeepPaths(kept, manifests, report);
      if (branch && restoreSalvageId) report("branch", "is given together with restore_salvage_id");
    },
  ),
  limits(HeartbeatRequestSchema, {
    leaseId: leaseName,
    leaseToken: opaque(1024),
    ttl: duration,
    dependenciesInstalled: any,
  }),
  limits(ReleaseRequestSchema, {
    leaseId: leaseName,
    leaseToken: opaque(1024),
    disposition: oneOf(DispositionSchema, "allowed"),
    waitForClean: any,
    dependenciesInstalled: any,
  }),
  limits(
    ListActiveRequestSchema,
    {
      repository: name,
      holder,
      host: name,
      labels,
      workspaceId: name,
      leaseId: name,
      binding,
      subject: text({ max: 2048 }),
      states: list({ max: 32, each: oneOf(WorkspaceStateSchema, "refused") }),
      pageSize,
      pageToken: any,
    },
    pageTokenOf(ListActiveRequestSchema),
  ),
  limits(GetWorkspaceRequestSchema, { workspaceId: requiredName }),
  limits(ReclaimRequestSchema, {
    repository: name,
    host: name,
    olderThan: age,
    includeParked: any,
    leaseIds: list({ max: 1000, each: requiredName }),
    workspaceIds: list({ max: 1000, each: requiredName }),
    dryRun: any,
  }),
  limits(
    ResetRequestSchema,
    { workspaceId: name, repository: name, binding, expectedFence: atLeast(0n), force: any, abandonWork: any },
    (message, report) => {
      const { workspaceId, repository, expectedFence, abandonWork } = message;
      if (workspaceId && repository) report("repository", "is given together with workspace_id");
      if (message.binding && !repository) report("binding", "needs repository");
      if (expectedFence !== 0n && !workspaceId) report("expected_fence", "needs workspace_id");
      if (abandonWork && !(workspaceId && expectedFence > 0n)) {
        report("abandon_work", "needs workspace_id and expected_fence");
      }
    },
  ),
  limits(
    WatchRequestSchema,
    {
      repository: name,
      holder,
      host: name,
      workspaceId: name,
      leaseId: name,
      kinds: list({ max: 64, each: oneOf(EventKindSchema, "refused") }),
      fromRevision: atLeast(1n),
      includeSnapshot: any,
      untilNow: any,
      storeId: name,
    },
    (message, report) => {
      if (message.includeSnapshot && message.fromRevision !== undefined) {
        report("include_snapshot", "is given together with from_revision");
      }
    },
  ),
];

const adminRequests = [
  limits(RegisterRepositoryRequestSchema, { repository: any }, ({ repository }, report) => {
    if (!repository) return report("repository", "is required");
    newName(repository.name, "repository.name", report);
    checkSettings(repository, updatableSettings, report);
  }),
  limits(UpdateRepositoryRequestSchema, { name: requiredName, repository: any, updateMask: any }, checkUpdate),
  limits(
    ListRepositoriesRequestSchema,
    { labels, name, pageSize, pageToken: any },
    pageTokenOf(ListRepositoriesRequestSchema),
  ),
  limits(RemoveRepositoryRequestSchema, { name: requiredName, force: any }),
  limits(RefreshMirrorRequestSchema, { repository: requiredName }),
  limits(
    ListSalvagesRequestSchema,
    {
      repository: name,
      host: name,
      holder,
      workspaceId: name,
      leaseId: name,
      salvageId: name,
      pageSize,
      pageToken: any,
    },
    pageTokenOf(ListSalvagesRequestSchema),
  ),
  limits(VerifyWorkspacesRequestSchema, {
    repository: name,
    host: name,
    workspaceIds: list({ max: 1000, each: requiredName }),
  }),
  limits(SweepRequestSchema, { dryRun: any }),
  limits(DiscardSalvageRequestSchema, { salvageId: requiredName }),
  limits(ListHostsRequestSchema, { pageSize, pageToken: any }, pageTokenOf(ListHostsRequestSchema)),
  limits(RemoveHostRequestSchema, { name: requiredName, force: any }),
  limits(GetUsageRequestSchema, { host: name, includeWorkspaces: any }),
  limits(GetServerInfoRequestSchema, {}),
];

/** By the request's full name. Requests of health and reflection have no limits but their size. */
export const requestLimits: ReadonlyMap<string, RequestLimits> = new Map(
  [...workspaceRequests, ...adminRequests, ...sessionRequests].map((entry) => [
    entry.desc.typeName,
    entry as unknown as RequestLimits,
  ]),
);
