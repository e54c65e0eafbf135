/**
 * Owns bringing the files of a granted workspace to what its ticket asked for.
 *
 * Invariants:
 * 1. What was made here is verified before anybody gets it; what was idle has been, and is only moved.
 * 2. What comes back to its binding is left as it was parked, but for the remote-tracking refs.
 */
import { Failure } from "../../domain/failure.js";
import type { Repository } from "../../domain/repository.js";
import type { CheckoutTarget, GitEngine } from "../../ports/git-engine.js";
import type { Grant, GrantOutcome, TicketSpec, Timing } from "../../ports/lease-store.js";
import type { Logger } from "../../ports/logger.js";
import type { Cleaning } from "../cleaning/cleaning.js";
import type { Places } from "../places.js";
import { timed } from "../timed.js";
import { poolExhausted } from "./queue-line.js";
import { fieldInvalid } from "./registry.js";

export type Granted = Extract<GrantOutcome, { kind: "granted" }>;

export interface HandoverDependencies {
  readonly git: GitEngine;
  readonly cleaning: Cleaning;
  readonly places: Places;
  readonly log: Logger;
}

export interface Prepared {
  /** What its holder is told. */
  readonly told: Grant["source"];
  /** What becomes of it if nobody takes it. */
  readonly unwanted: "IDLE" | "PARKED" | "CLEANING";
}

/** A workspace that came back to its binding is no repository any more. */
export class BrokenBinding extends Error {
  override readonly name = "BrokenBinding";
}

/** A salvage is restored to a clean workspace, never over what its binding has. */
export class NothingToRestoreTo extends Error {
  override readonly name = "NothingToRestoreTo";
  readonly failure = fieldInvalid({
    field: "restore_salvage_id",
    description: "is given for a binding that has a workspace: restore it under another binding, or reset this one",
  });
}

export class Handover {
  readonly #deps: HandoverDependencies;

  constructor(deps: HandoverDependencies) {
    this.#deps = deps;
  }

  /** `isChangedAfter`: its files will be changed before it is handed out. */
  async prepare(
    spec: TicketSpec,
    repository: Repository,
    target: CheckoutTarget,
    granted: Granted,
    timings: Timing[],
    isChangedAfter: boolean,
  ): Promise<Prepared> {
    const { git, cleaning, places } = this.#deps;
    if (granted.source === "bound") return this.#bring(repository, granted, timings);
    const { branch, author } = spec;
    const isPlain = !branch && !author && !isChangedAfter;
    const isNew = granted.source === "new";
    const present = !isNew && (await timed(timings, "check", () => git.workspaceExists(granted.path)));
    const told = !present ? "CREATED" : granted.source === "exact" ? "WARM" : "REUSED";
    if (granted.source === "exact" && isPlain && present) return { told, unwanted: "IDLE" };
    const request = {
      mirror: places.mirror(repository),
      path: granted.path,
      trustedIndex: places.trustedIndex(granted.key.workspaceId),
      origin: repository.url,
      objectStorage: repository.objectStorage,
      target,
      ...(branch ? { branch } : {}),
      ...(author ? { author } : {}),
    };
    await timed(timings, "prepare", () =>
      present ? git.prepareWorkspace({ ...request, from: granted.from }) : cleaning.make(request, repository),
    );
    return { told, unwanted: "CLEANING" };
  }

  /** Invariant 2. Refs that could not be brought up to date are its holder's to fetch. */
  async #bring(repository: Repository, { path, key }: Granted, timings: Timing[]): Promise<Prepared> {
    const { git, places, log } = this.#deps;
    const { objectStorage } = repository;
    const refresh = git.refreshWorkspace({ mirror: places.mirror(repository), path, objectStorage });
    const state = await timed(timings, "refresh", () =>
      refresh.catch((error: unknown) => {
        log.warn({ err: error, workspace: key.workspaceId }, "the refs of a parked workspace stay old");
        return "ready" as const;
      }),
    );
    if (state === "broken") throw new BrokenBinding(`${key.workspaceId} is no repository any more`);
    return { told: "BOUND", unwanted: "PARKED" };
  }
}

/** Why a ticket gets nothing at all; undefined where it may still get something. */
export function refusalOf(outcome: GrantOutcome, binding: string): Failure | undefined {
  switch (outcome.kind) {
    case "paused":
      return new Failure("REPOSITORY_PAUSED", "the repository is paused");
    case "exhausted":
      return poolExhausted(outcome.position);
    case "in-use":
      return bindingInUse(binding);
    case "elsewhere":
      return bindingElsewhere(binding, outcome.host);
    default:
      return undefined;
  }
}

export function bindingInUse(binding: string): Failure {
  const message = "another lease has the workspace of this binding, or what it held is being salvaged";
  return new Failure("BINDING_IN_USE", message, { metadata: { binding }, retryAfterMs: 1_000 });
}

function bindingElsewhere(binding: string, host: string): Failure {
  return new Failure("BINDING_ELSEWHERE", `the workspace of this binding is on host ${host}`, {
    metadata: { binding, host },
  });
}
