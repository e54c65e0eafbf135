/** Telling what stands in this host's directories. */
import { mkdirSync } from "node:fs";
import { afterAll, expect, test } from "vitest";
import { beside } from "../../src/domain/workspace-directory.js";
import { surveyDirectories } from "../../src/git/host-directories.js";
import { TemporaryDirectory } from "../support/repositories.js";

const directory = new TemporaryDirectory();
afterAll(() => directory.remove());

test("G12 what a killed worker leaves beside a workspace is nobody else's: a sweep does not tell it as foreign", async () => {
  const root = directory.at("workspaces");
  for (const name of ["w17", "w18.4"]) {
    for (const suffix of ["", ...Object.values(beside)]) {
      mkdirSync(directory.at("workspaces", "demo", name + suffix), { recursive: true });
    }
  }
  const foreign = ["w17.4.notes", "w17.verify.old", "verify"].map((name) => directory.at("workspaces", "demo", name));
  for (const path of foreign) mkdirSync(path);
  const { workspaces, others } = await surveyDirectories(root, directory.at("mirrors"), directory.at("indexes"));
  expect(workspaces.map(({ workspaceId, fence }) => `${workspaceId}.${fence}`).sort()).toEqual(["w17.1", "w18.4"]);
  expect([...others].sort()).toEqual(foreign.sort());
});
