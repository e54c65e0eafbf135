import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { UpstreamRepository, writeFile } from "../support/repositories.js";
import { Bench, Site, state } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
let made = 0;

const bytes = (path: string, name: readonly number[]): Buffer => Buffer.concat([Buffer.from(path), Buffer.from(name)]);
/** 4,000 bytes. */
const long = `${`${"l".repeat(249)}/`.repeat(15)}${"e".repeat(250)}`;

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  writeFileSync(bytes(`${upstream.path}/odd-`, [0xff, 0xfe]), "no text\n");
  upstream.commit("base", {
    ".gitignore": "*.log\nbuild/\n",
    "Name.txt": "upper\n",
    "thing/in": "a directory\n",
    "dir/c.txt": "ccc\n",
    "dir/deep/d.txt": "ddd\n",
    "two\nlines": "newline\n",
    link: { link: "dir" },
  });
  upstream.git("tag", "v1");
  upstream.git("mv", "Name.txt", "name.txt");
  upstream.git("rm", "-q", "-r", "thing", "link");
  upstream.commit("next", { thing: "a file\n", "link/in": "a directory\n" });
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

const outside = (): string => {
  const path = bench.at(`outside-${++made}`);
  writeFile(join(path, "c.txt"), "untouched\n");
  writeFile(join(path, "deep/d.txt"), "untouched\n");
  return path;
};

const references = new Map<string, ReturnType<typeof state>>();

/** From `from`, through `mischief`, to `to`: equal to a clone of git's, and passed by verification, shallow and deep. */
async function expectPristine(mischief: (path: string) => unknown, from = "", to = ""): Promise<void> {
  const site = new Site(bench, mirror, upstream.path, `o${++made}`);
  const { commit } = await site.prepare(from);
  await mischief(site.path);
  const target = await site.target(to);
  expect(await site.clean(commit, target)).toMatchObject({ kind: "clean" });
  const reference = references.get(to) ?? state(site.reference(target));
  references.set(to, reference);
  expect(state(site.path)).toEqual(reference);
  for (const deep of [false, true]) expect(await site.verify(target, { deep })).toMatchObject({ kind: "pristine" });
}

describe("A5 a workspace is cleaned and passes verification after", () => {
  const mischief: Record<string, (path: string) => unknown> = {
    "nothing at all": () => {},
    "names that differ by case alone": (path) => {
      for (const name of ["Name.txt", "name.txt"]) {
        if (existsSync(join(path, name))) renameSync(join(path, name), join(path, name.toUpperCase()));
      }
      if (existsSync(join(path, "dir"))) renameSync(join(path, "dir"), join(path, "DIR"));
      mkdirSync(join(path, "Dir"));
    },
    "files that became directories, and back": (path) => {
      for (const name of ["thing", "dir/c.txt", "link"]) {
        const isDirectory = statSync(join(path, name)).isDirectory();
        rmSync(join(path, name), { recursive: true });
        writeFile(join(path, name, ...(isDirectory ? [] : ["below/it"])), "x");
      }
    },
    "symlinks that became directories, and back": (path) => {
      const isLink = !existsSync(join(path, "link/in"));
      rmSync(join(path, "link"), { recursive: true });
      if (isLink) writeFile(join(path, "link/x"), "x");
      else symlinkSync("dir", join(path, "link"));
    },
    "a path of 4,000 bytes": (path) => {
      execFileSync(
        "sh",
        ["-c", `mkdir -p '${long.slice(0, 2000)}' && cd '${long.slice(0, 2000)}' && mkdir -p x && touch x/y`],
        {
          cwd: path,
        },
      );
    },
    "names that are no text, tracked and untracked": (path) => {
      writeFileSync(bytes(`${path}/odd-`, [0xff, 0xfe]), "changed\n");
      writeFileSync(bytes(`${path}/dir/odd-`, [0xc3, 0x28]), "new\n");
      mkdirSync(bytes(`${path}/`, [0xe9, 0x0a, 0x80]));
    },
    "names with line feeds, tracked and untracked": (path) => {
      appendFileSync(join(path, "two\nlines"), "more\n");
      writeFile(join(path, "a\n\nb/\n/c\n"), "x");
      writeFile(join(path, "\n.log"), "x");
    },
    "thousands of ignored files": (path) => {
      for (let i = 0; i < 2_000; i++) {
        if (i % 100 === 0) mkdirSync(join(path, `build/d${i}`), { recursive: true });
        writeFileSync(join(path, `build/d${i - (i % 100)}/o${i}`), "");
      }
      for (let i = 0; i < 200; i++) writeFileSync(join(path, `dir/x${i}.log`), "");
    },
    "directories without permissions": (path) => {
      writeFile(join(path, "build/x/y"), "x");
      chmodSync(join(path, "build/x"), 0);
      for (const name of ["build", "dir/deep", "dir"]) chmodSync(join(path, name), 0);
    },
    "pipes, sockets and devices in place of files": (path) => {
      for (const name of ["dir/c.txt", "dir/deep/d.txt", "two\nlines"]) rmSync(join(path, name));
      execFileSync("mkfifo", [join(path, "dir/c.txt"), join(path, "p.log"), join(path, "two\nlines")]);
      if (process.getuid?.() === 0) execFileSync("mknod", [join(path, "dir/deep/d.txt"), "c", "1", "3"]);
    },
    "files with names in other workspaces": (path) => {
      const other = outside();
      for (const name of ["dir/c.txt", "dir/deep/d.txt"]) {
        rmSync(join(path, name));
        linkSync(join(other, name.slice(4)), join(path, name));
      }
    },
  };
  test.each(Object.keys(mischief))("A5 %s", (name) => expectPristine(mischief[name] as () => unknown));
  test.each(Object.keys(mischief))("A5 %s, on the way to a commit where kinds and cases differ", (name) =>
    expectPristine(mischief[name] as () => unknown, "", "v1"),
  );
  test.each(Object.keys(mischief))("A5 %s, on the way back", (name) =>
    expectPristine(mischief[name] as () => unknown, "v1", ""),
  );
});

test("A5 a tracked path of 4,000 bytes is cleaned, verified, and removed from the trash", async () => {
  const source = new UpstreamRepository(bench.at("long"));
  source.commit("base");
  const blob = source.git("hash-object", "-w", "base");
  source.git("update-index", "--add", "--cacheinfo", `100644,${blob},${long.slice(0, 3_900)}`);
  source.git("commit", "-q", "-m", "long");
  const site = new Site(bench, await bench.mirror(source.path, "long-mirror"), source.path, "l");
  const target = await site.prepare();
  writeFileSync(join(site.path, long.slice(0, 3_900)), "changed");
  expect(await site.clean(target.commit, target)).toMatchObject({ kind: "clean" });
  for (const deep of [false, true]) expect(await site.verify(target, { deep })).toMatchObject({ kind: "pristine" });
  await bench.engine.emptyTrash(bench.trash);
});

test("A5 hard links and symlinks to elsewhere: nothing there is written, changed or removed", async () => {
  const canary = outside();
  const before = ["c.txt", "deep/d.txt"].map((name) => statSync(join(canary, name), { bigint: true }).mtimeNs);
  await expectPristine(
    (path) => {
      rmSync(join(path, "dir"), { recursive: true });
      symlinkSync(canary, join(path, "dir"));
      symlinkSync(canary, join(path, "build"));
      rmSync(join(path, "thing"), { recursive: true });
      linkSync(join(canary, "c.txt"), join(path, "thing"));
    },
    "",
    "v1",
  );
  expect(["c.txt", "deep/d.txt"].map((name) => statSync(join(canary, name), { bigint: true }).mtimeNs)).toEqual(before);
  expect(readFileSync(join(canary, "c.txt"), "utf8")).toBe("untouched\n");
  await bench.engine.emptyTrash(bench.trash);
  expect(readFileSync(join(canary, "deep/d.txt"), "utf8")).toBe("untouched\n");
});

test("A5 a data directory with the set-group bit: workspaces inherit it and are pristine", async () => {
  const site = new Site(bench, mirror, upstream.path, "setgid/w");
  mkdirSync(bench.at("workspaces/setgid"), { recursive: true });
  chmodSync(bench.at("workspaces/setgid"), 0o2755);
  const target = await site.prepare();
  chmodSync(join(site.path, "dir"), 0o777);
  expect(await site.clean(target.commit, target)).toEqual({ kind: "clean", recreated: false });
  expect(await site.verify(target)).toMatchObject({ kind: "pristine" });
  expect(statSync(join(site.path, "dir")).mode & 0o7777).toBe(0o2755);
});
