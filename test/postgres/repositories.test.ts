import { afterEach, beforeEach, expect, test } from "vitest";
import { defaultSettings } from "../../src/domain/repository.js";
import { lease, makeIdle, openStoreFixture, type StoreFixture } from "../support/store.js";

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture();
});
afterEach(() => fixture.close());

const settings = { ...defaultSettings, maxWorkspaces: 5, salvageTtlMs: 60_000 };

test("B6 a mirror that fails is tried again with growing pauses, and one problem is one event", async () => {
  const { store, sql } = fixture;
  const made = await store.repositories.register("", { ...settings, url: "https://forge.test/a/Broken.git" });
  if (made.kind !== "registered") throw new Error(made.kind);
  const { id, name } = made.repository;
  expect(name).toBe("broken");
  const pauses: number[] = [];
  for (let attempt = 0; attempt < 3; attempt++) {
    expect((await store.repositories.dueMirrors(10)).map((due) => due.name)).toEqual(["broken"]);
    await store.repositories.updateMirror(id, { state: "MIRRORING", problem: "", defaultBranch: "", digest: "" });
    await store.repositories.updateMirror(id, {
      state: "FAILED",
      problem: "it is away",
      defaultBranch: "",
      digest: "",
    });
    expect(await store.repositories.dueMirrors(10)).toEqual([]);
    const [row] = await sql<{ pause: number }[]>`
      select extract(epoch from retry_time - clock_timestamp())::float8 as pause from mirrors where repository_id = ${id}`;
    pauses.push(Math.round(row?.pause ?? 0));
    await sql`update mirrors set retry_time = now() - interval '1 second' where repository_id = ${id}`;
  }
  expect(pauses).toEqual([5, 10, 20]);
  const { newest } = await store.events.publish();
  const failed = (await store.events.read(1n, Number(newest))).filter((event) => event.kind === "REPOSITORY_FAILED");
  expect(failed.map((event) => event.detail)).toEqual(["it is away"]);
});

test("A1 the same URL is one repository, also when fifty register it at once", async () => {
  const { store } = fixture;
  const url = "https://forge.test/a/thing.git";
  const outcomes = await Promise.all(
    Array.from({ length: 50 }, () => store.repositories.register("", { ...settings, url })),
  );
  expect(outcomes.filter((outcome) => outcome.kind === "registered").length).toBe(1);
  expect(outcomes.filter((outcome) => outcome.kind === "same").length).toBe(49);
});

test("a name that another URL has is made unique when it was derived, and refused when it was given", async () => {
  const { store } = fixture;
  await store.repositories.register("", { ...settings, url: "https://forge.test/a/thing.git" });
  const other = await store.repositories.register("", { ...settings, url: "https://forge.test/b/thing" });
  expect(other.kind === "registered" && other.repository.name).toMatch(/^thing-[0-9a-f]{8}$/);
  const given = await store.repositories.register("thing", { ...settings, url: "https://forge.test/c/thing" });
  expect(given.kind).toBe("differs");
});

test("a repository with leases or quarantined workspaces is removed by force only", async () => {
  const { store, sql } = fixture;
  await makeIdle(fixture, 2);
  const held = await lease(fixture);
  const inUse = { kind: "in-use", leases: 1, quarantined: 0, salvages: 0 };
  expect(await store.repositories.remove("demo", false)).toEqual(inUse);
  const quarantine = (to: string) =>
    sql.unsafe(
      `update workspaces set state = 'CLEANING', idle_time = null where state = '${to}' and id <> ${held.workspace.id.slice(1)}`,
    );
  await quarantine("IDLE");
  await sql`update workspaces set state = 'QUARANTINED', problem = 'work' where state = 'CLEANING'`;
  expect(await store.repositories.remove("demo", false)).toEqual({ ...inUse, quarantined: 1 });
  expect(await store.repositories.remove("demo", true)).toEqual({ kind: "removing" });
  expect((await store.leases.find(held.lease))?.endReason).toBe("RECLAIMED");
  for (const due of await store.work.claimWork([], "/workspaces", 10)) {
    expect(due.kind).toBe("remove");
    await store.work.finishWork(due.key, { kind: "retired" });
  }
  expect(await store.repositories.finishRemovals(["demo"])).toEqual(["demo"]);
  expect(await store.repositories.byName("demo")).toBeUndefined();
});

test("G9 workspaces are made ahead up to min_idle, within max_workspaces, and not while somebody waits", async () => {
  const { store } = fixture;
  await store.repositories.update("demo", { minIdle: 3, maxWorkspaces: 4 });
  const made = await store.work.claimMissingIdle("/workspaces", 10);
  expect(made.map((due) => due.kind)).toEqual(["make", "make", "make"]);
  expect(await store.work.claimMissingIdle("/workspaces", 10)).toEqual([]);
});

test("a repository that is removed while its workspaces are being made or cleaned goes all the same", async () => {
  const { store } = fixture;
  await store.repositories.update("demo", { minIdle: 1 });
  const [making] = await store.work.claimMissingIdle("/workspaces", 1);
  if (!making) throw new Error("nothing is made ahead");
  expect(await store.repositories.remove("demo", false)).toEqual({ kind: "removing" });
  await store.work.finishWork(making.key, { kind: "idle", commit: "", head: "", refsVersion: 1n });
  expect(await store.repositories.finishRemovals(["demo"])).toEqual([]);
  const [removing] = await store.work.claimWork([], "/workspaces", 1);
  expect(removing?.kind).toBe("remove");
  await store.work.finishWork(making.key, { kind: "retired" });
  await store.work.finishWork(removing?.key ?? making.key, { kind: "retired" });
  expect(await store.repositories.finishRemovals(["demo"])).toEqual(["demo"]);
});

test("A2 what was fetched from an upstream that the repository has left meanwhile counts as never fetched", async () => {
  const { store, repository } = fixture;
  const { id, name } = repository;
  const before = await store.repositories.mirror(id);
  expect(before?.fetchAgeMs).toBeDefined();
  await store.repositories.update(name, { url: repository.url, minIdle: 0 });
  expect((await store.repositories.mirror(id))?.refsVersion).toBe(before?.refsVersion);
  const url = "/srv/elsewhere.git";
  await store.repositories.update(name, { url });
  const moved = await store.repositories.mirror(id);
  expect(moved).toMatchObject({ state: "READY", refsVersion: (before?.refsVersion ?? 0n) + 1n });
  expect(moved?.fetchAgeMs).toBeUndefined();
  const fetched = { state: "READY", problem: "", defaultBranch: "main", digest: "1", fetchedMsAgo: 0 } as const;
  const old = await store.repositories.updateMirror(id, { ...fetched, url: repository.url });
  expect(old.fetchAgeMs).toBeUndefined();
  const anew = await store.repositories.updateMirror(id, { ...fetched, url });
  expect(anew.fetchAgeMs).toBeDefined();
  // though it has the very same references
  expect(anew.refsVersion).toBeGreaterThan(moved?.refsVersion ?? 0n);
});
