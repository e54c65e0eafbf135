/** The package as another one gets it: packed, unpacked, imported, type-checked, run. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { brokenLinks } from "../support/links.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const root = resolve(import.meta.dirname, "../..");
let consumer: string;
let installed: string;

beforeAll(() => {
  consumer = mkdtempSync(join(tmpdir(), "leasehold-consumer-"));
  installed = join(consumer, "node_modules", "leasehold");
  mkdirSync(installed, { recursive: true });
  // the run has built dist/; what npm would do before packing must not be done twice at once
  const packed = execFileSync("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", consumer], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const name = /"filename":\s*"([^"]+)"/.exec(packed)?.[1] ?? "";
  execFileSync("tar", ["-xzf", join(consumer, name), "--strip-components=1", "-C", installed]);
  const { dependencies } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
  // the registry's part of an installation: the dependencies that the package itself names, and no others
  for (const dependency of [...Object.keys(dependencies), "@types/node"]) {
    const place = join(consumer, "node_modules", dependency);
    mkdirSync(join(place, ".."), { recursive: true });
    symlinkSync(join(root, "node_modules", dependency), place);
  }
  writeFileSync(join(consumer, "package.json"), JSON.stringify({ name: "consumer", type: "module", private: true }));
});
afterAll(() => rmSync(consumer, { recursive: true, force: true }));

const node = (...args: string[]) => execFileSync(process.execPath, args, { cwd: consumer, encoding: "utf8" });

it("F5 A4 another package imports the client by its name", () => {
  const program =
    'const { connect, LeaseLostError } = await import("leasehold/client"); console.log(typeof connect, LeaseLostError.name);';
  expect(node("--input-type=module", "--eval", program)).toBe("function LeaseLostError\n");
});

it("A4 the client's types hold for another package, with `await using`", () => {
  writeFileSync(
    join(consumer, "use.mts"),
    `import { connect, type Lease } from "leasehold/client";
     const client = connect({ address: "http://127.0.0.1:1" });
     export async function use(): Promise<string> {
       await using lease: Lease = await client.acquire({ repository: "demo" });
       return lease.path;
     }
     // @ts-expect-error a repository is required
     export const wrong = () => client.acquire({});
    `,
  );
  const options = ["--ignoreConfig", "--noEmit", "--strict", "--module", "nodenext", "--target", "es2022"];
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  const libraries = ["--lib", "es2023,esnext.disposable", "--types", "node", "--skipLibCheck"];
  expect(node(tsc, ...options, ...libraries, "use.mts")).toBe("");
});

it("A8 the packed command line runs", () => {
  const version = JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version;
  expect(node(join(installed, "dist/src/main.js"), "--version").trim()).toBe(version);
});

it("F5 the protos are in the package, so that any language generates its client from them", () => {
  const proto = readFileSync(join(installed, "proto/leasehold/v1/workspace_service.proto"), "utf8");
  expect(proto).toContain("service WorkspaceService");
});

it("the migrations are in the package where the program reads them: what is installed can serve", () => {
  const program = `const { readMigrations } = await import(${JSON.stringify(join(installed, "dist/src/postgres/migrate.js"))});
    console.log((await readMigrations()).length);`;
  const sources = readdirSync(join(root, "src/postgres/migrations")).length;
  expect(node("--input-type=module", "--eval", program)).toBe(`${sources}\n`);
});

it("what compiles nodegit is in the package, with all that it imports, and nothing that needs a checkout", () => {
  const program = `await import(${JSON.stringify(join(installed, "setup/nodegit.mjs"))}); console.log("whole");`;
  expect(node("--input-type=module", "--eval", program)).toBe("whole\n");
  const names = readdirSync(join(installed, "setup"));
  for (const name of ["start.mjs", "test.mjs", "build.mjs", "bench.mjs", "prepare.mjs"])
    expect(names).not.toContain(name);
});

it("every document in the package links to what is in the package", () => {
  const documents = readdirSync(installed, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".md"),
  );
  expect(documents.length).toBeGreaterThan(14);
  expect(documents.flatMap((name) => brokenLinks(installed, name))).toEqual([]);
});
