/** Owns: upstreams whose submodules are to be refused, and what a refusal is to look like. */
import { expect } from "vitest";
import { type Client, refusal } from "./rpc-client.js";
import { until } from "./until.js";
import { Upstream } from "./upstream.js";

let made = 0;

const quoted = (text: string) => `"${text.replace(/[\\"]/g, "\\$&")}"`;

/** An upstream whose tip has these words as `.gitmodules` and a gitlink at `path`, as no git would make it. */
export async function crafted(root: string, gitmodules: string, commit = "1".repeat(40)): Promise<Upstream> {
  const upstream = await Upstream.make(root, `crafted-${++made}`);
  await upstream.commit({ ".gitmodules": gitmodules });
  await upstream.git("update-index", "--add", "--cacheinfo", `160000,${commit},sub`);
  await upstream.git("commit", "--quiet", "--message", "A gitlink");
  await upstream.git("push", "--quiet", "origin", "HEAD");
  return upstream;
}

/** The submodule `sub` in a `.gitmodules`. */
export function section(name: string, url: string): string {
  return `[submodule ${quoted(name)}]\n\tpath = sub\n\turl = ${quoted(url)}\n`;
}

export async function problemOf(client: Client, url: string): Promise<string> {
  const { repositories } = await client.admin.listRepositories({});
  return repositories.find((repository) => repository.url === url)?.problem ?? "none of that URL";
}

/** The Acquire is refused, no workspace is left half, and the repository has the problem. */
export async function expectRefused(client: Client, url: string, reason: string, words: RegExp): Promise<void> {
  const refused = await refusal(client.acquire({ repository: url }));
  expect(refused).toMatchObject({ reason });
  expect(refused.message).toMatch(words);
  await until("the problem is told", async () => words.test(await problemOf(client, url)));
  expect(
    (await client.workspaces.listActive({})).workspaces.filter(({ repository }) => repository.includes("crafted")),
  ).toEqual([]);
}
