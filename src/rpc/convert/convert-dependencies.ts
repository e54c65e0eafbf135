/** Owns the conversion of dependencies: what Acquire asks for and answers of them. */
import { create } from "@bufbuild/protobuf";
import {
  type AcquireRequest,
  type Dependencies as DependenciesMessage,
  DependenciesSchema,
  DependencyState,
} from "../../../gen/leasehold/v1/workspace_service_pb.js";
import { type Dependencies, type DependencyWish, normalKeepPaths } from "../../domain/dependencies.js";

/** Undefined if nothing of it is asked for. */
export function toDependencyWish(request: AcquireRequest): DependencyWish | undefined {
  const { dependencyManifests: manifests, environment, keepPaths } = request;
  if (manifests.length === 0 && keepPaths.length === 0 && Object.keys(environment).length === 0) return undefined;
  return { manifests, environment, keepPaths: normalKeepPaths(keepPaths) };
}

export function fromDependencies(dependencies: Dependencies): DependenciesMessage {
  const { fingerprint, state, changedManifests, cachePath } = dependencies;
  return create(DependenciesSchema, {
    fingerprint,
    state: DependencyState[state],
    changedManifests: [...changedManifests],
    cachePath,
  });
}
