/** Configuration: precedence, faults told together, and no way around the table. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ConfigError, configFlags, defaultHost, loadConfig } from "../../src/config/config.js";
import { parseDuration } from "../../src/config/duration.js";
import { parseListenAddress } from "../../src/config/listen-address.js";

let cwd: string;
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), "leasehold-config-"));
});
afterEach(() => rmSync(cwd, { recursive: true, force: true }));

const load = (flags: Record<string, unknown> = {}, env: Record<string, string> = {}) => loadConfig({ flags, env, cwd });

function faultsOf(run: () => unknown): readonly string[] {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
  throw new Error("no fault was found");
}

describe("without any setting", () => {
  test("the documented defaults hold", () => {
    expect(load()).toEqual({
      file: undefined,
      listen: [{ kind: "tcp", host: "127.0.0.1", port: 7420 }],
      dataDir: join(cwd, ".leasehold"),
      mirrorRoot: join(cwd, ".leasehold/mirrors"),
      workspaceRoot: join(cwd, ".leasehold/workspaces"),
      databaseUrl: undefined,
      databaseDirectUrl: undefined,
      host: defaultHost(hostname()),
      tokensFile: undefined,
      allowCleartext: false,
      allowUrls: [],
      allowLocal: false,
      forges: [],
      credentials: [],
      ttl: { min: 5000, max: 86_400_000, default: 60_000 },
      drainLimitMs: 10_000,
      eventRetentionMs: 604_800_000,
      upstreamTimeoutMs: 120_000,
      firstCloneTimeoutMs: 1_800_000,
      sweeper: { intervalMs: 21_600_000, graceMs: 600_000, maxAgeMs: 2_592_000_000, orphanAgeMs: 86_400_000 },
      diskLow: { kind: "percent", percent: 10 },
      diskMinFree: { kind: "percent", percent: 5 },
      logLevel: "info",
      logFormat: "auto",
    });
  });

  test("C1 C3 the sweep is set by its old names, in hours and days, and by durations", () => {
    const env = { SWEEPER_INTERVAL_HOURS: "12", MAX_AGE_DAYS: "7.5" };
    expect(load({}, env).sweeper).toMatchObject({ intervalMs: 12 * 3_600_000, maxAgeMs: 7.5 * 86_400_000 });
    const both = { ...env, LEASEHOLD_SWEEPER_INTERVAL: "90m", LEASEHOLD_SWEEPER_GRACE: "0s" };
    expect(load({}, both).sweeper).toMatchObject({ intervalMs: 90 * 60_000, graceMs: 0 });
    writeFileSync(join(cwd, "leasehold.yaml"), "sweeper: { interval: 0, grace: 10m, max_age: 30d, orphan_age: 24h }\n");
    expect(load().sweeper.intervalMs).toBe(0);
    for (const [name, wrong] of Object.entries({ SWEEPER_INTERVAL_HOURS: "-1", MAX_AGE_DAYS: "0" })) {
      expect(() => load({}, { [name]: wrong })).toThrow(`from ${name}`);
    }
  });

  test("the configuration cannot be changed", () => {
    const config = load();
    expect(Object.isFrozen(config) && Object.isFrozen(config.listen[0]) && Object.isFrozen(config.ttl)).toBe(true);
  });
});

describe("precedence", () => {
  beforeEach(() => writeFileSync(join(cwd, "leasehold.yaml"), "host: from-file\ndrain_limit: 3s\nlog_level: debug\n"));

  test("a flag wins over the environment, the environment over the file, the file over the default", () => {
    const config = load({ host: "from-flag" }, { LEASEHOLD_HOST: "from-env", LEASEHOLD_DRAIN_LIMIT: "4s" });
    expect(config).toMatchObject({
      host: "from-flag",
      drainLimitMs: 4000,
      logLevel: "debug",
      eventRetentionMs: 604_800_000,
    });
  });

  test("an empty variable counts as unset", () => {
    expect(load({}, { LEASEHOLD_HOST: "" }).host).toBe("from-file");
  });

  test("--config and LEASEHOLD_CONFIG name another file, and paths in it are relative to it", () => {
    const other = mkdtempSync(join(cwd, "other-"));
    writeFileSync(join(other, "c.yaml"), "data_dir: data\nauth: { tokens_file: tokens.yaml }\n");
    for (const config of [
      load({ config: join(other, "c.yaml") }),
      load({}, { LEASEHOLD_CONFIG: join(other, "c.yaml") }),
    ]) {
      expect(config).toMatchObject({ dataDir: join(other, "data"), tokensFile: join(other, "tokens.yaml") });
      expect(config.mirrorRoot).toBe(join(other, "data/mirrors"));
    }
  });

  test("a file that is named and does not exist is a fault", () => {
    expect(faultsOf(() => load({ config: "absent.yaml" }))[0]).toContain("absent.yaml");
  });

  test("LEASEHOLD_DATABASE_URL wins over DATABASE_URL, and the direct URL follows", () => {
    const env = { DATABASE_URL: "postgres://a/x", LEASEHOLD_DATABASE_URL: "postgres://b/y" };
    expect(load({}, env)).toMatchObject({ databaseUrl: "postgres://b/y", databaseDirectUrl: "postgres://b/y" });
    expect(load({}, { DATABASE_URL: "postgres://a/x" }).databaseUrl).toBe("postgres://a/x");
  });

  test("an alias is the same flag, and both at once are a fault", () => {
    expect(load({ barePath: "m" }).mirrorRoot).toBe(join(cwd, "m"));
    expect(load({ worktreeRoot: "w" }).workspaceRoot).toBe(join(cwd, "w"));
    expect(faultsOf(() => load({ barePath: "m", mirrorRoot: "n" }))).toHaveLength(1);
  });
});

describe("faults", () => {
  test("all faults are told together, each with its key and source", () => {
    writeFileSync(
      join(cwd, "leasehold.yaml"),
      "colour: red\nauth: { tokens: x }\nttl_min: 5\ncredentials: [{ name: Bad, url_prefix: 'https://u:p@h/', password_file: p, key_file: k }]\n",
    );
    const faults = faultsOf(() =>
      load({ listen: ["nowhere"], drainLimit: "soon" }, { LEASEHOLD_ALLOW_LOCAL: "maybe" }),
    );
    for (const part of [
      "colour: is no setting",
      "auth.tokens: is no setting",
      "ttl_min: must be a duration",
      "credentials[0].name",
      "credentials[0].url_prefix: must have no user or password",
      'listen: "nowhere" is neither HOST:PORT nor unix:/path (from --listen)',
      "drain_limit: must be a duration from 0s to 1h",
      "allow_local: must be true or false (from LEASEHOLD_ALLOW_LOCAL)",
    ]) {
      expect(
        faults.some((fault) => fault.includes(part)),
        `${part} in\n${faults.join("\n")}`,
      ).toBe(true);
    }
  });

  test("a credential has exactly one secret, and names differ", () => {
    const faults = (yaml: string) => {
      writeFileSync(join(cwd, "leasehold.yaml"), `credentials: ${yaml}\n`);
      return faultsOf(() => load()).join("\n");
    };
    expect(faults("[{ name: a }]")).toContain("exactly one of password_file, key_file and askpass");
    expect(faults("[{ name: a, askpass: x, password: y }]")).toContain("password");
    expect(faults("[{ name: a, askpass: x }, { name: a, askpass: y }]")).toContain("names must differ");
  });

  test("a file that is no YAML is one clear fault", () => {
    writeFileSync(join(cwd, "leasehold.yaml"), "listen: [\n");
    expect(faultsOf(() => load())).toHaveLength(1);
  });

  test("bounds of the time to live must be in order", () => {
    expect(faultsOf(() => load({ ttlMin: "2m" }))).toEqual(["ttl_default: must be between ttl_min and ttl_max"]);
  });

  test.each(["120%", "-1%", "much", "10 %%", "1e3"])("G7 a watermark of %j is one fault that names its key", (text) => {
    for (const [flag, key] of [
      ["diskLow", "disk_low"],
      ["diskMinFree", "disk_min_free"],
    ] as const) {
      const [fault, ...others] = faultsOf(() => load({ [flag]: text }));
      expect(others).toEqual([]);
      expect(fault).toMatch(new RegExp(`^${key}: must be a share of the disk .*--${key.replaceAll("_", "-")}`));
    }
  });

  test("G7 no new work may not begin to be refused before room is made", () => {
    expect(faultsOf(() => load({ diskLow: "3%" }))).toEqual(["disk_min_free: must not be above disk_low"]);
    const marks = load({ diskLow: "20GiB", diskMinFree: "1.5 GB" });
    expect(marks.diskLow).toEqual({ kind: "bytes", bytes: 20 * 1024 ** 3 });
    expect(marks.diskMinFree).toEqual({ kind: "bytes", bytes: 1_500_000_000 });
  });
});

test("durations need a unit and may have several", () => {
  expect(["500ms", "10s", "6h", "7d", "1h30m", "0s"].map(parseDuration)).toEqual([
    500, 10_000, 21_600_000, 604_800_000, 5_400_000, 0,
  ]);
  expect(["", "10", "s", "-1s", "1.5h", "1y", "1 s", "99999999999s"].map(parseDuration)).toEqual(
    Array(8).fill(undefined),
  );
});

test("listen addresses are host and port, IPv6 in brackets, or a socket's path", () => {
  expect(parseListenAddress("localhost:0")).toEqual({ kind: "tcp", host: "localhost", port: 0 });
  expect(parseListenAddress("[::1]:80")).toEqual({ kind: "tcp", host: "::1", port: 80 });
  expect(parseListenAddress("unix:/run/x.sock")).toEqual({ kind: "unix", path: "/run/x.sock" });
  expect(parseListenAddress("unix:///run/x.sock")).toEqual({ kind: "unix", path: "/run/x.sock" });
  for (const wrong of ["", "7420", ":7420", "::1:7420", "h:65536", "h:x", "unix:", `unix:/${"x".repeat(107)}`]) {
    expect(typeof parseListenAddress(wrong), wrong).toBe("string");
  }
});

test("the default host is the machine's name, made fit", () => {
  expect(defaultHost("my-box.local")).toBe("my-box.local");
  expect(defaultHost("_büro pc")).toBe("b-ro-pc");
  expect(defaultHost("---")).toBe("host");
});

test("flags have unique names, and every one is read", () => {
  const names = configFlags.flatMap(({ name, alias }) => (alias ? [name, alias] : [name]));
  expect(new Set(names).size).toBe(names.length);
  expect(names).toEqual(
    expect.arrayContaining([
      "config",
      "listen",
      "data-dir",
      "mirror-root",
      "bare-path",
      "worktree-root",
      "database-url",
    ]),
  );
});
