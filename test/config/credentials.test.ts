/** A credential fits the upstreams under its prefix, however prefix and upstream are written. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConfigError, loadConfig } from "../../src/config/config.js";
import { ConfiguredCredentials } from "../../src/credentials/configured-credentials.js";
import { parseUpstream } from "../../src/domain/upstream-url.js";

let cwd: string;
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), "leasehold-config-"));
  writeFileSync(join(cwd, "password"), "secret\n");
});
afterEach(() => rmSync(cwd, { recursive: true, force: true }));

function credentials(prefix: string): ConfiguredCredentials {
  const entry = { name: "forge", url_prefix: prefix, password_file: "password" };
  writeFileSync(join(cwd, "leasehold.yaml"), `credentials: [${JSON.stringify(entry)}]\n`);
  return new ConfiguredCredentials(loadConfig({ flags: {}, env: {}, cwd }).credentials);
}

async function fits(prefix: string, upstream: string): Promise<boolean> {
  const parsed = parseUpstream(upstream);
  if (parsed.kind !== "ok") throw new Error(`${upstream} is no upstream`);
  return (await credentials(prefix).forUrl(parsed.url, "")) !== undefined;
}

test.each([
  ["https://Git.Example.com/", "https://git.example.com/acme/widget.git"],
  ["https://git.example.com:443", "https://GIT.example.com/acme/widget.git"],
  ["HTTPS://git.example.com:443/acme//", "https://git.example.com:443/acme/widget"],
  ["http://git.example.com:80/acme", "http://git.example.com/acme"],
  ["https://git.example.com:8443/", "https://git.example.com:8443/acme/widget"],
  ["ssh://git@Git.Example.com:22/", "ssh://git@git.example.com/acme/widget"],
  ["git@Git.Example.com:", "git@git.example.com:acme/widget.git"],
  ["git@Git.Example.com:acme/", "git@git.example.com:acme/widget.git"],
])("G10 the prefix %s fits %s", async (prefix, upstream) => {
  expect(await fits(prefix, upstream)).toBe(true);
});

test.each([
  ["https://git.example.com/acme", "https://git.example.com/acme-other/widget"],
  ["https://git.example.com", "https://git.example.com.evil.example/acme/widget"],
  ["https://git.example.com", "https://git.example.com:8443/acme/widget"],
  ["https://git.example.com", "http://git.example.com/acme/widget"],
  ["https://git.example.com/Acme", "https://git.example.com/acme/widget"],
  ["git@git.example.com:acme", "git@git.example.com:acme-other/widget"],
])("G10 the prefix %s does not fit %s", async (prefix, upstream) => {
  expect(await fits(prefix, upstream)).toBe(false);
});

test.each(["https://", "https://git.example.com/?q=", "ftp://git.example.com/"])("G10 %s is no prefix", (prefix) => {
  expect(() => credentials(prefix)).toThrow(ConfigError);
});
