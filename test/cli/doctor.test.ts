/** Doctor looks at what `serve` would use, wherever that is said. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { leasehold, temporaryDirectory } from "../support/command-line.js";

interface Check {
  readonly check: string;
  readonly verdict: string;
  readonly found: string;
}

async function doctor(args: readonly string[], environment: NodeJS.ProcessEnv) {
  const { stdout, stderr } = await leasehold("http://127.0.0.1:1", ["doctor", "-o", "json", ...args], environment);
  const checks: readonly Check[] = JSON.parse(stdout).checks;
  return { checks, text: stdout + stderr, of: (name: string) => checks.find(({ check }) => check.startsWith(name)) };
}

test("doctor takes directories and the database from the configuration file that serve reads", async () => {
  await using directory = await temporaryDirectory();
  const config = join(directory.path, "leasehold.yaml");
  await writeFile(join(directory.path, "no-directory"), "");
  await writeFile(
    config,
    "data_dir: data\nworkspace_root: no-directory\ndatabase_url: postgres://user:secret@127.0.0.1:1/filed\n",
  );
  for (const [args, environment] of [
    [[], { LEASEHOLD_CONFIG: config }],
    [["--config", config], {}],
  ] as const) {
    const { of, text } = await doctor(args, environment);
    expect(of("configuration")).toMatchObject({ verdict: "ok", found: config });
    expect(of("data directory")).toMatchObject({
      verdict: "ok",
      found: `${join(directory.path, "data")} (will be made)`,
    });
    expect(of("workspace root")).toMatchObject({ verdict: "broken" });
    expect(of("Postgres (DATABASE_URL)")).toMatchObject({
      verdict: "broken",
      found: expect.stringContaining("ECONNREFUSED"),
    });
    expect(text).not.toContain("secret");
  }
});

test("doctor prefers LEASEHOLD_DATABASE_URL to DATABASE_URL, as serve does", async () => {
  await using directory = await temporaryDirectory();
  const { of } = await doctor(["--data-dir", directory.path], {
    DATABASE_URL: "postgres://127.0.0.1:1/wrong",
    LEASEHOLD_DATABASE_URL: "postgres://127.0.0.1:2/right",
  });
  expect(of("Postgres (DATABASE_URL)")?.found).toContain("127.0.0.1:2");
});

test("doctor tells what is wrong with the configuration, and looks at the rest all the same", async () => {
  await using directory = await temporaryDirectory();
  const config = join(directory.path, "leasehold.yaml");
  await writeFile(config, "data_dri: data\nttl_min: never\n");
  const { of } = await doctor(["--config", config], {});
  expect(of("configuration")).toMatchObject({ verdict: "broken", found: expect.stringContaining("data_dri") });
  expect(of("configuration")?.found).toContain("ttl_min");
  expect(of("Node.js")?.verdict).toBe("ok");
  expect(of("layout")).toBe(undefined);
});
