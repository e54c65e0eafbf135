/** Reading a holder's objects is bounded, also where nothing comes of it. */
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { Inside } from "../../src/git/worker/files/inside.js";
import { Damaged } from "../../src/git/worker/objects/git-object.js";
import { ObjectStore } from "../../src/git/worker/objects/object-store.js";
import { Gigantic } from "../../src/git/worker/objects/pack-file.js";
import { git, TemporaryDirectory } from "../support/repositories.js";

vi.setConfig({ testTimeout: 60_000 });

const directory = new TemporaryDirectory();
afterAll(() => directory.remove());
const megabyte = 1024 ** 2;

/** How often a damaged object is looked at before it is too much. */
function asked(repository: string, id: string, budget: number): number {
  const limits = { mostBytes: 64 * megabyte, budget, mostPacks: 10 };
  const store = new ObjectStore(new Inside(repository), ".git/objects", limits);
  try {
    for (let times = 0; times < 1_000; times++) {
      try {
        store.find(id);
      } catch (error) {
        if (store.unread || error instanceof Gigantic) return times;
        expect(error).toBeInstanceOf(Damaged);
      }
    }
    return Number.POSITIVE_INFINITY;
  } finally {
    store.close();
  }
}

function repository(name: string): { readonly path: string; readonly id: string } {
  const path = directory.at(name);
  mkdirSync(path);
  git(path, "init", "-q");
  writeFileSync(join(path, "large"), randomBytes(8 * megabyte));
  return { path, id: git(path, "hash-object", "-w", "large") };
}

test("A5 a damaged object in a pack counts each time for what is read of it", () => {
  const { path, id } = repository("packed");
  git(path, "add", "large");
  git(path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "large");
  git(path, "repack", "-q", "-a", "-d");
  const packs = join(path, ".git/objects/pack");
  const pack = join(packs, readdirSync(packs).find((name) => name.endsWith(".pack")) ?? "");
  const bytes = readFileSync(pack);
  bytes.fill(0xaa, 4 * megabyte, bytes.length - 2_000);
  chmodSync(pack, 0o644);
  writeFileSync(pack, bytes);
  expect(asked(path, id, 100 * megabyte)).toBeLessThan(20);
});

test("A5 a damaged loose object counts each time for what is read of it", () => {
  const { path, id } = repository("loose");
  const loose = join(path, ".git/objects", id.slice(0, 2), id.slice(2));
  chmodSync(loose, 0o644);
  writeFileSync(loose, Buffer.alloc(8 * megabyte, 0xaa));
  expect(asked(path, id, 100 * megabyte)).toBeLessThan(20);
});
