/** The configuration of forges: defaults of their APIs, and secrets that are looked at before anything is started. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConfigError, loadConfig } from "../../src/config/config.js";
import { leasehold } from "../support/command-line.js";

let cwd: string;
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), "leasehold-config-"));
});
afterEach(() => rmSync(cwd, { recursive: true, force: true }));

function load(forges: string) {
  writeFileSync(join(cwd, "leasehold.yaml"), `forges: ${forges}\n`);
  return loadConfig({ flags: {}, env: {}, cwd }).forges;
}

function faults(forges: string): readonly string[] {
  writeFileSync(join(cwd, "leasehold.yaml"), `forges: ${forges}\n`);
  return faultsOf(cwd);
}

/** Of the `leasehold.yaml` that is there. */
function faultsOf(directory: string): readonly string[] {
  try {
    loadConfig({ flags: {}, env: {}, cwd: directory });
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
  throw new Error("no fault was found");
}

test("the base of the API follows from kind and URL, and can be set", () => {
  const api = (fields: string) => load(`[{ name: f, ${fields} }]`)[0]?.apiUrl;
  expect(api("kind: forgejo, url: 'https://git.example.com/'")).toBe("https://git.example.com/api/v1");
  expect(api("kind: gitea, url: 'https://example.com/git'")).toBe("https://example.com/git/api/v1");
  expect(api("kind: gitlab, url: 'http://127.0.0.1:8080'")).toBe("http://127.0.0.1:8080/api/v4");
  expect(api("kind: github, url: 'https://github.com'")).toBe("https://api.github.com");
  expect(api("kind: github, url: 'https://GitHub.com/'")).toBe("https://api.github.com");
  expect(api("kind: github, url: 'https://ghe.example.com'")).toBe("https://ghe.example.com/api/v3");
  expect(api("kind: github, url: 'https://x', api_url: 'https://api.x.ghe.com/'")).toBe("https://api.x.ghe.com");
});

test("files with secrets are named relative to the configuration, and are not read into it", () => {
  writeFileSync(join(cwd, "token"), "s3cret\n");
  writeFileSync(join(cwd, "hook"), "hush hush\n");
  const [forge] = load("[{ name: f, kind: gitea, url: 'https://x', token_file: token, webhook_secret_file: hook }]");
  expect(forge).toEqual({
    ...{ name: "f", kind: "gitea", url: "https://x", apiUrl: "https://x/api/v1" },
    ...{ tokenFile: join(cwd, "token"), webhookSecretFile: join(cwd, "hook") },
  });
});

test("a file that is missing, unreadable, empty or no text is a fault of its key, without a word of what is in it", () => {
  writeFileSync(join(cwd, "empty"), "");
  writeFileSync(join(cwd, "blank"), "\ns3cret\n");
  writeFileSync(join(cwd, "bytes"), "s3cret\u0000\n");
  mkdirSync(join(cwd, "directory"));
  for (const key of ["token_file", "webhook_secret_file"]) {
    for (const [file, why] of Object.entries({
      absent: "cannot be read: ENOENT",
      directory: "is no regular file",
      empty: "is empty",
      blank: "is empty",
      bytes: "printable ASCII",
    })) {
      const [fault = "", ...more] = faults(
        `[{ name: a, kind: gitea, url: 'https://a' }, { name: b, kind: gitea, url: 'https://b', ${key}: ${file} }]`,
      );
      expect(more).toEqual([]);
      expect(fault).toContain(`forges[1].${key}: `);
      expect(fault).toContain(why);
      expect(fault).not.toContain("s3cret");
    }
  }
});

test("a file that this user may not read is a fault", () => {
  writeFileSync(join(cwd, "token"), "s3cret\n");
  chmodSync(join(cwd, "token"), 0);
  chmodSync(cwd, 0o711);
  const forges = "[{ name: f, kind: gitea, url: 'https://x', token_file: token }]";
  writeFileSync(join(cwd, "leasehold.yaml"), `forges: ${forges}\n`);
  const isRoot = process.getuid?.() === 0;
  try {
    // root may read everything
    if (isRoot) process.seteuid?.(65_534);
    expect(faultsOf(cwd)[0]).toContain("EACCES");
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
});

test("two forges of one URL or one name are a fault, however the URL is written", () => {
  const two = (first: string, second: string) =>
    faults(`[{ name: a, kind: gitea, url: '${first}' }, { name: b, kind: gitea, url: '${second}' }]`).join();
  for (const [first, second] of [
    ["https://x.example.com", "https://x.example.com/"],
    ["https://x.example.com", "https://X.Example.com"],
    ["https://x.example.com", "https://x.example.com:443"],
  ] as const) {
    expect(two(first, second)).toContain("forges: URLs must differ");
  }
  expect(
    faults("[{ name: a, kind: gitea, url: 'https://x' }, { name: a, kind: gitea, url: 'https://y' }]").join(),
  ).toContain("forges: names must differ");
});

test("what is no forge is a fault that names its key", () => {
  const of = (fields: string) => faults(`[{ name: f, kind: gitea, url: 'https://x', ${fields} }]`).join();
  expect(of("api_url: 'https://user:secret@x'")).toContain("forges[0].api_url");
  expect(of("api_url: 'ftp://x'")).toContain("forges[0].api_url");
  expect(of("api_url: 'https://x/?a=b'")).toContain("forges[0].api_url");
  expect(of("token: s3cret")).toContain("forges[0]");
  expect(of("token_file: ''")).toContain("forges[0].token_file");
  expect(faults("[{ name: f, kind: bitbucket, url: 'https://x' }]").join()).toContain("forges[0].kind");
});

test("the server does not start with a forge whose secret cannot be read, and names the key", async () => {
  const config = join(cwd, "leasehold.yaml");
  writeFileSync(config, "forges: [{ name: f, kind: gitea, url: 'https://x', token_file: absent }]\n");
  const run = await leasehold("", ["serve", "--config", config, "--data-dir", join(cwd, "data")]);
  expect(run).toMatchObject({ status: 2, stdout: "" });
  expect(run.stderr).toContain("forges[0].token_file");
});
