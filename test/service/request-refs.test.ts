/** Pull requests are asked for with everything else that is wanted at that moment. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { acquire, openSite, type Site } from "../support/services.js";
import { git, Upstream } from "../support/upstream.js";

let site: Site;
beforeEach(async () => {
  site = await openSite();
});
afterEach(() => site.close());

test("A2 as many Acquires of pull requests at once as there are ask the upstream at most twice", async () => {
  const upstream = await Upstream.make(site.directory.at("upstreams"), "code");
  await site.register("code", upstream.url);
  const first = await acquire(site, "code");
  const heads: string[] = [];
  for (let n = 1; n <= 6; n++) {
    const commit = await upstream.commit({ "src/main.txt": `request ${n}\n` });
    await git(upstream.url, "update-ref", `refs/pull/${n}/head`, commit);
    heads.push(commit);
  }
  const before = site.steps.length;
  // what nobody has fails alone
  const wanted = [...heads.map((_, index) => `refs/pull/${index + 1}/head`), "refs/pull/99/head"];
  const found = await Promise.allSettled(
    wanted.map((revision) => acquire(site, "code", { revision, waitMs: 1, ttlMs: 60_000 })),
  );
  const commits = found.map((one) =>
    one.status === "fulfilled" ? one.value.grant.lease.commit : (one.reason as { reason: string }).reason,
  );
  expect(commits).toEqual([...heads, "REVISION_NOT_FOUND"]);
  const asked = site.steps.slice(before).filter(({ step }) => step === "fetchMirror" || step === "cloneMirror");
  expect(asked.length).toBeLessThanOrEqual(2);
  expect(first.grant.lease.commit).not.toBe(heads[0]);
});

test("A2 a pull request comes with the first making of its repository's mirror", async () => {
  const upstream = await Upstream.make(site.directory.at("upstreams"), "code");
  const commit = await upstream.commit({ "src/main.txt": "asked for\n" });
  await git(upstream.url, "update-ref", "refs/pull/1/head", commit);
  await git(upstream.url, "update-ref", "refs/heads/main", `${commit}~1`);
  await site.register("code", upstream.url);
  const { grant } = await acquire(site, "code", { revision: "refs/pull/1/head" });
  expect(grant.lease.commit).toBe(commit);
});
