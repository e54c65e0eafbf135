/** Pull requests are asked for with everything else that is wanted at that moment. */
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Failure } from "../../src/domain/failure.js";
import { acquire, openSite, type Site } from "../support/services.js";
import { git, Upstream } from "../support/upstream.js";

// workers, a database and a server's parts in one process: on a busy machine they take their time
vi.setConfig({ testTimeout: 60_000 });

let site: Site;
beforeAll(async () => {
  site = await openSite();
});
afterAll(() => site.close());

test("A2 as many Acquires of pull requests at once as there are ask the upstream at most twice", async () => {
  const upstream = await Upstream.make(site.directory.at("upstreams"), "code1");
  await site.register("code1", upstream.url);
  const first = await acquire(site, "code1");
  const heads: string[] = [];
  for (let n = 1; n <= 2; n++) {
    const commit = await upstream.commit({ "src/main.txt": `request ${n}\n` });
    await git(upstream.url, "update-ref", `refs/pull/${n}/head`, commit);
    heads.push(commit);
  }
  const before = site.steps.length;
  // what nobody has fails alone
  const wanted = [...heads.map((_, index) => `refs/pull/${index + 1}/head`), "refs/pull/99/head"];
  const found = await Promise.allSettled(
    wanted.map((revision) => acquire(site, "code1", { revision, waitMs: 1, ttlMs: 60_000 })),
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
  const upstream = await Upstream.make(site.directory.at("upstreams"), "code2");
  const commit = await upstream.commit({ "src/main.txt": "asked for\n" });
  await git(upstream.url, "update-ref", "refs/pull/1/head", commit);
  await git(upstream.url, "update-ref", "refs/heads/main", `${commit}~1`);
  await site.register("code2", upstream.url);
  const { grant } = await acquire(site, "code2", { revision: "refs/pull/1/head" });
  expect(grant.lease.commit).toBe(commit);
});

test("B6 a mirror that was made stays READY where the pull request that was wanted with it could not be had", async () => {
  const { url } = await Upstream.make(site.directory.at("upstreams"), "code3");
  site.before("fetchMirror", async () => {
    throw new Failure("UPSTREAM_UNAVAILABLE", "the upstream cannot be reached");
  });
  const wanted = acquire(site, url, { revision: "refs/pull/1/head" });
  await expect(wanted).rejects.toMatchObject({ reason: "UPSTREAM_UNAVAILABLE" });
  const rows = await site.fixture.sql<{ state: string }[]>`
    select m.state from mirrors m join repositories r on r.id = m.repository_id where r.url = ${url}`;
  expect(rows).toEqual([{ state: "READY" }]);
});
