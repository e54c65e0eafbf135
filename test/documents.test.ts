/** The documents say what is so: their links lead somewhere, and their tables are those of the code. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { transitions } from "../src/domain/workspace.js";
import { brokenLinks } from "./support/links.js";

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
