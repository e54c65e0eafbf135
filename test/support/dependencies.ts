/** Owns: a repository with dependencies, and what tests say of them over the wire. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { expect } from "vitest";
import type { Dependencies } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { DependencyState } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { AcquireFields, Client, Held } from "./rpc-client.js";
import { Upstream } from "./upstream.js";

export const wishes = { dependencyManifests: ["auto"], keepPaths: ["node_modules"] } as const;

/** A repository whose `node_modules` is ignored. */
export function makeUpstream(root: string, name: string, files: Readonly<Record<string, string>> = {}) {
  return Upstream.make(root, name, {
    ".gitignore": "node_modules\n.venv/\n/cache\n*.log\n",
    "package.json": '{ "name": "demo" }\n',
    "package-lock.json": "{}\n",
    "packages/a/package.json": '{ "name": "a" }\n',
    ...files,
  });
}

export async function write(root: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }
}

export function dependenciesOf(held: Held): Dependencies {
  const { dependencies } = held.answer;
  if (!dependencies) throw new Error("an Acquire was answered without dependencies");
  return dependencies;
}

export function stateOf(held: Held): string {
  return DependencyState[dependenciesOf(held).state] as string;
}

export function acquireWith(client: Client, repository: string, more: Partial<AcquireFields> = {}): Promise<Held> {
  const { dependencyManifests, keepPaths } = wishes;
  return client.acquire({
    repository,
    dependencyManifests: [...dependencyManifests],
    keepPaths: [...keepPaths],
    ...(more as object),
  });
}

/** Leases, installs, marks, and gives back. */
export async function installOnce(
  client: Client,
  repository: string,
  more: Partial<AcquireFields> = {},
  files: Readonly<Record<string, string>> = { "node_modules/left/index.js": "left\n" },
): Promise<Held> {
  const held = await acquireWith(client, repository, more);
  await write(held.path, files);
  await giveBack(client, held, true);
  return held;
}

/** Releases, and waits until the workspace is clean. */
export async function giveBack(client: Client, held: Held, dependenciesInstalled = false): Promise<void> {
  const { workspace } = await client.release(held, { dependenciesInstalled, waitForClean: true });
  expect(workspace?.problem).toBe("");
}
