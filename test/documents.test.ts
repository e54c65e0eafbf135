/** The documents say what is so: their links lead somewhere, and their tables are those of the code. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { transitions } from "../src/domain/workspace.js";
import { brokenLinks } from "./support/links.js";
import { readSources } from "./support/source-files.js";

const root = resolve(import.meta.dirname, "..");

test("every file and heading that the documents link to is there", () => {
  const directories = ["", "docs", "examples/agents", "examples"];
  const documents = directories
    .filter((directory) => existsSync(join(root, directory)))
    .flatMap((directory) => readdirSync(join(root, directory)).map((name) => join(directory, name)))
    .filter((name) => name.endsWith(".md"));
  expect(documents.length).toBeGreaterThan(16);
  expect(documents.flatMap((name) => brokenLinks(root, name))).toEqual([]);
});

test("DESIGN.md has every legal transition of a workspace, and no other", () => {
  const text = readFileSync(join(root, "DESIGN.md"), "utf8");
  const told: string[] = [];
  let from = "";
  for (const [, first, to] of text.matchAll(/^\|(?: `([A-Z]+)`)? \| `([A-Z]+)` \|/gm)) {
    from = first ?? from;
    told.push(`${from} ${to}`);
  }
  const legal = Object.entries(transitions).flatMap(([state, nexts]) => nexts.map((next) => `${state} ${next}`));
  expect(told).toEqual(legal);
});

test("every id in a test's name is in test/requirements.md, and every row there is shown", () => {
  const table = readFileSync(join(root, "test/requirements.md"), "utf8").matchAll(/^\| ([A-G]\d+) \| .+ \|(.*)\|$/gm);
  const rows = new Map([...table].map(([, id = "", besides = ""]) => [id, besides.trim()]));
  expect(rows.size).toBe(52);
  const used = new Map<string, string>();
  for (const { path, text } of readSources(["test"], [".ts"])) {
    for (const [, ids = ""] of text.matchAll(/["'`]((?:[A-G]\d{1,2} )+)(?=[^"'`\s])/g)) {
      for (const id of ids.trim().split(" ")) used.set(id, path);
    }
  }
  expect([...used].filter(([id]) => !rows.has(id))).toEqual([]);
  expect([...rows].filter(([id, besides]) => besides === "" && !used.has(id))).toEqual([]);
});
