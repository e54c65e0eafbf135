/** A hundred thousand files that a build left: cleaned and verified in bounded time, wherever they are. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Bench, Site } from "../git/support.js";
import { UpstreamRepository } from "../support/repositories.js";

const bench = new Bench();
afterAll(() => bench.close());

const files = 100_000;
const limitMs = 60_000;

test.each([
  ["in a directory of their own", "build"],
  ["among tracked files", "dir"],
])("A5 100,000 ignored files %s", { timeout: 600_000 }, async (_, directory) => {
  const upstream = new UpstreamRepository(bench.at(`upstream-${directory}`));
  upstream.commit("base", { ".gitignore": "build/\n*.o\n", "dir/a.txt": "a\n" });
  const site = new Site(bench, await bench.mirror(upstream.path, directory), upstream.path, directory);
  const target = await site.prepare();
  mkdirSync(join(site.path, directory), { recursive: true });
  for (let i = 0; i < files; i++) writeFileSync(join(site.path, directory, `${i}.o`), "");
  const begin = performance.now();
  expect(await site.clean(target.commit, target)).toEqual({ kind: "clean", recreated: false });
  expect(await site.verify(target)).toMatchObject({ kind: "pristine" });
  expect(performance.now() - begin).toBeLessThan(limitMs);
  await bench.engine.emptyTrash(bench.trash);
});
