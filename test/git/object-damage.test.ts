/** What a holder of the server's own user can do to objects that its workspace shares with the mirror. */
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { ObjectStorage } from "../../src/domain/repository.js";
import type { CheckoutTarget } from "../../src/ports/git-engine.js";
import { git, UpstreamRepository } from "../support/repositories.js";
import { Bench, Site, state } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

const bench = new Bench();
afterAll(() => bench.close());

let upstream: UpstreamRepository;
let mirror: string;
let made = 0;

beforeEach(async () => {
  made += 1;
  upstream = new UpstreamRepository(bench.at(`upstream-${made}`));
  upstream.commit("base", { "a.txt": "aaa\n", "b.txt": "b".repeat(5_000) });
  mirror = await bench.mirror(upstream.path, `mirror-${made}`);
});

const remake = (): Promise<string> => bench.mirror(upstream.path, `mirror-${made}`);

async function prepared(objectStorage: ObjectStorage, name = "w"): Promise<{ site: Site; target: CheckoutTarget }> {
  const site = new Site(bench, mirror, upstream.path, `${name}${made}`);
  return { site, target: await site.prepare("", { objectStorage }) };
}

function packOf(repository: string): string {
  const directory = join(repository, "objects", "pack");
  return join(directory, readdirSync(directory).find((name) => name.endsWith(".pack")) as string);
}

/** Writes into the middle of a file, which keeps its size. */
function overwrite(path: string): void {
  const { size, mode } = statSync(path);
  chmodSync(path, 0o600);
  const file = openSync(path, "r+");
  writeSync(file, Buffer.from("damaged!"), 0, 8, Math.floor(size / 2));
  closeSync(file);
  chmodSync(path, mode & 0o7777);
}

const damage: Record<string, (pack: string) => void> = {
  "truncated it": (pack) => {
    chmodSync(pack, 0o600);
    truncateSync(pack, 100);
  },
  "wrote into it and put its permissions back": overwrite,
  "appended to it": (pack) => {
    chmodSync(pack, 0o644);
    appendFileSync(pack, "more");
  },
  "made it writable": (pack) => chmodSync(pack, 0o644),
};

describe("G1 with LINK, a holder that", () => {
  test.each(Object.keys(damage))("G1 %s is noticed by the lease's end, and a new mirror is sound", async (what) => {
    const { site, target } = await prepared("LINK");
    expect(statSync(packOf(join(site.path, ".git"))).ino).toBe(statSync(packOf(mirror)).ino);
    expect(await bench.engine.checkMirror(mirror)).toBe(true);
    damage[what]?.(packOf(join(site.path, ".git")));
    expect(await bench.engine.checkMirror(mirror)).toBe(false);
    const found = await site.verify(target, { objectStorage: "LINK" });
    expect(found).toMatchObject({ kind: "differs", mirrorDamaged: true });
    // a fetch vouches for nothing that was there before
    upstream.commit("more");
    await bench.fetch(mirror, upstream.path).catch(() => {});
    expect(await bench.engine.checkMirror(mirror)).toBe(false);

    await remake();
    expect(await bench.engine.checkMirror(mirror)).toBe(true);
    // what still has the damaged file is not passed off as a clone, and is one after it was cleaned
    expect(await site.verify(target, { objectStorage: "LINK" })).toMatchObject({ kind: "differs" });
    expect(await site.clean(target.commit, await site.target(""))).toMatchObject({ kind: "clean" });
    expect(await site.verify(await site.target(""), { deep: true })).toMatchObject({ kind: "pristine" });
    expect(state(site.path)).toEqual(state(site.reference(await site.target(""))));
  });

  test("G1 wrote into it and put its times back as well is found by deep verification", async () => {
    const { site, target } = await prepared("LINK");
    const pack = packOf(join(site.path, ".git"));
    const { atime, mtimeNs } = { atime: statSync(pack).atime, mtimeNs: statSync(pack, { bigint: true }).mtimeNs };
    overwrite(pack);

    const seconds = `${mtimeNs / 1_000_000_000n}.${String(mtimeNs % 1_000_000_000n).padStart(9, "0")}`;
    utimesSync(pack, atime, atime);
    execFileSync("touch", ["-m", "-d", `@${seconds}`, pack]);
    expect(await bench.engine.checkMirror(mirror)).toBe(true);
    expect(await site.verify(target)).toMatchObject({ kind: "pristine" });
    expect(await site.verify(target, { deep: true })).toMatchObject({ kind: "differs", mirrorDamaged: true });
  });

  test("G1 lets git touch the packs' times does no damage, and is believed after one reading", async () => {
    const { site, target } = await prepared("LINK");
    const before = statSync(packOf(mirror)).mtimeMs;
    utimesSync(packOf(mirror), 1, 1);
    appendFileSync(join(site.path, "a.txt"), "x");
    git(site.path, "stash", "-q");
    git(site.path, "stash", "pop", "-q");
    utimesSync(packOf(join(site.path, ".git")), new Date(), new Date());
    expect(statSync(packOf(mirror)).mtimeMs).not.toBe(before);
    expect(await bench.engine.checkMirror(mirror)).toBe(true);
    const noted = JSON.parse(readFileSync(join(mirror, "leasehold-touched.json"), "utf8"));
    const times = Object.values(noted.files as Record<string, [number, number]>).map(([, time]) => time);
    expect(times).toContain(statSync(packOf(mirror)).mtimeMs);
    await site.clean(target.commit, target);
    expect(await site.verify(target, { deep: true })).toMatchObject({ kind: "pristine" });
  });
});

test("G1 who only looks at a mirror never writes its record, so that nothing that a fetch adds meanwhile is lost of it", async () => {
  const { target, site } = await prepared("LINK");
  utimesSync(packOf(mirror), 1, 1);
  const record = () => readFileSync(join(mirror, "leasehold-objects.json"), "utf8");
  const before = record();
  expect(await bench.engine.checkMirror(mirror)).toBe(true);
  expect(await site.verify(target)).toMatchObject({ kind: "pristine" });
  expect(record()).toBe(before);
  // and of what came as it was, no note makes another size or permission good
  chmodSync(packOf(mirror), 0o644);
  expect(await bench.engine.checkMirror(mirror)).toBe(false);
});

describe("G1 with COPY, a holder that", () => {
  test.each(Object.keys(damage))("G1 %s harms neither the mirror nor another workspace", async (what) => {
    const { site } = await prepared("COPY");
    const { site: other, target } = await prepared("COPY", "other");
    damage[what]?.(packOf(join(site.path, ".git")));
    rmSync(packOf(join(site.path, ".git")));
    expect(await bench.engine.checkMirror(mirror)).toBe(true);
    expect(await other.verify(target, { deep: true, objectStorage: "COPY" })).toMatchObject({ kind: "pristine" });
    await site.clean(target.commit, target, { objectStorage: "COPY" });
    expect(await site.verify(target, { deep: true, objectStorage: "COPY" })).toMatchObject({ kind: "pristine" });
  });

  test("G1 had links before: verification finds what is not a copy", async () => {
    const { site, target } = await prepared("LINK");
    expect(await site.verify(target, { objectStorage: "COPY" })).toMatchObject({
      findings: expect.arrayContaining([expect.stringMatching(/pack.*: is not a copy/)]),
    });
  });
});
