/**
 * Owns: the services of one host in this process, over a real store and a real git engine, for tests that need to see or to
 * stop what they do between the calls.
 */

import { ConfiguredCredentials } from "../../src/credentials/configured-credentials.js";
import { LocalDisk } from "../../src/disk/host-disk.js";
import { defaultSettings } from "../../src/domain/repository.js";
import { HttpForges } from "../../src/forge/http-forges.js";
import { SignedWebhooks } from "../../src/forge/signed-webhooks.js";
import { createGitEngine } from "../../src/git/engine.js";
import type { GitEngine } from "../../src/ports/git-engine.js";
import type { CallContext } from "../../src/service/call.js";
import type { Acquired, AcquireInput } from "../../src/service/services.js";
import { type RunningServices, startServices } from "../../src/service/start.js";
import { workerEntry } from "../git/support.js";
import { type LogLine, recordedLog } from "../rpc/running-server.js";
import { TemporaryDirectory } from "./repositories.js";
import { openStoreFixture, type StoreFixture } from "./store.js";

type Step = keyof GitEngine;

export interface Site {
  readonly directory: TemporaryDirectory;
  readonly fixture: StoreFixture;
  readonly services: RunningServices;
  readonly git: GitEngine;
  readonly lines: readonly LogLine[];
  /** Calls of the engine that were made, in their order. */
  readonly steps: readonly { readonly step: Step; readonly args: readonly unknown[] }[];
  /** From now on the engine begins such a step only when `until` resolves, and not at all if it rejects. */
  before(step: Step, until: (...args: readonly unknown[]) => Promise<unknown>): void;
  register(name: string, url: string): Promise<void>;
  close(): Promise<void>;
}

export async function openSite(): Promise<Site> {
  const directory = new TemporaryDirectory();
  const fixture = await openStoreFixture();
  const { log, lines } = recordedLog();
  const git = createGitEngine({ workerEntry });
  const steps: { step: Step; args: readonly unknown[] }[] = [];
  const gates = new Map<Step, (...args: readonly unknown[]) => Promise<unknown>>();
  const watched = new Proxy(git, {
    get: (target, name: Step) => {
      const method = target[name] as (...args: unknown[]) => unknown;
      return (...args: unknown[]) => {
        steps.push({ step: name, args });
        const gate = gates.get(name);
        return gate ? gate(...args).then(() => method.apply(target, args)) : method.apply(target, args);
      };
    },
  });
  const dataDir = directory.at("data");
  const [mirrorRoot, workspaceRoot] = [directory.at("data", "mirrors"), directory.at("data", "workspaces")];
  const disk = new LocalDisk(directory.path, [directory.path]);
  const services = await startServices({
    ...{ store: fixture.store, git: watched, disk, credentials: new ConfiguredCredentials([]), log },
    ...{ forges: new HttpForges([]), webhooks: new SignedWebhooks([]), version: "0", components: {} },
    settings: {
      ...{ dataDir, mirrorRoot, workspaceRoot, authentication: false, allowUrls: [], allowLocal: true },
      ttl: { default: 60_000, min: 100, max: 600_000 },
      ...{ drainLimitMs: 500, eventRetentionMs: 86_400_000, upstreamTimeoutMs: 60_000, firstCloneTimeoutMs: 60_000 },
      sweeper: { intervalMs: 86_400_000, graceMs: 60_000, maxAgeMs: 86_400_000, orphanAgeMs: 86_400_000 },
      diskLow: { kind: "bytes", bytes: 0 },
      diskMinFree: { kind: "bytes", bytes: 0 },
    },
  });
  return {
    ...{ directory, fixture, services, git, lines, steps },
    before: (step, until) => void gates.set(step, until),
    register: async (name, url) => {
      await services.administration.registerRepository(name, { ...defaultSettings, url }, call());
    },
    close: async () => {
      gates.clear();
      await services.stop();
      await git.close();
      await fixture.close();
      directory.remove();
    },
  };
}

/** Of an admin, unless a runner is named. */
export function call(runner?: string, timeLeftMs?: number): CallContext {
  const arrival = performance.now();
  return {
    caller: runner === undefined ? { name: "", role: "admin" } : { name: runner, role: "runner" },
    signal: new AbortController().signal,
    arrival,
    timeLeftMs: () => (timeLeftMs === undefined ? undefined : arrival + timeLeftMs - performance.now()),
  };
}

export function acquire(
  { services }: Site,
  repository: string,
  more: Partial<AcquireInput> = {},
  context = call(),
): Promise<Acquired> {
  return services.workspaces.acquire(
    {
      ...{ requestId: "", repository, revision: "", host: "", holder: "test", ttlMs: undefined, waitMs: 0, labels: {} },
      ...{ maxStalenessMs: 0, branch: "", binding: "", subject: "", restoreSalvageId: "", ...more },
    },
    context,
  );
}
