/** Owns the options that say what dependencies are, and how they are shown. */
import type { Command } from "commander";
import { DependencyState } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { AcquireOptions, AcquireResponse } from "../client/index.js";
import { collectPair, collectText, enumName } from "./arguments.js";

export interface DependencyFlags {
  readonly dependencyManifest?: readonly string[];
  readonly environment?: Record<string, string>;
  readonly keepPath?: readonly string[];
}

export function withDependencies(command: Command): Command {
  return command
    .option(
      "--dependency-manifest <path>",
      "a file that says what is to be installed: a path, a glob, or `auto`; may be repeated",
      collectText,
    )
    .option(
      "--environment <key=value>",
      "what else the dependencies depend on; may be repeated",
      collectPair("A variable"),
    )
    .option(
      "--keep-path <path>",
      "an ignored path that is to survive, such as node_modules; may be repeated",
      collectText,
    );
}

export function dependencyOptions(
  flags: DependencyFlags,
): Pick<AcquireOptions, "dependencyManifests" | "environment" | "keepPaths"> {
  return {
    ...(flags.dependencyManifest && { dependencyManifests: flags.dependencyManifest }),
    ...(flags.environment && { environment: flags.environment }),
    ...(flags.keepPath && { keepPaths: flags.keepPath }),
  };
}

/** For people; nothing where none were asked for. */
export function dependencyFacts({ dependencies }: AcquireResponse): [string, string][] {
  if (!dependencies) return [];
  return [
    ["dependencies", enumName(DependencyState, dependencies.state)],
    ["fingerprint", dependencies.fingerprint],
    ["changed", dependencies.changedManifests.join(", ")],
    ["cache", dependencies.cachePath],
  ];
}

/** What `run` exports. */
export function dependencyVariables({ dependencies }: AcquireResponse): NodeJS.ProcessEnv {
  if (!dependencies) return {};
  return {
    LEASEHOLD_FINGERPRINT: dependencies.fingerprint,
    LEASEHOLD_DEPENDENCIES: enumName(DependencyState, dependencies.state),
    LEASEHOLD_DEPENDENCY_CACHE: dependencies.cachePath,
  };
}
