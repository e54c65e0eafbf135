/** What the messages of the four kinds of forges mean, and that only signed ones mean anything. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ForgeEvent, forgeOf, isOfProject, subjectUrls } from "../../src/domain/forge-event.js";
import { type ForgeKind, forgeKinds, subjectOf } from "../../src/domain/subject.js";
import { SignedWebhooks } from "../../src/forge/signed-webhooks.js";
import { githubLike, gitlab, hmac, message, noCommit, type Sent } from "./payloads.js";

const secret = "It's a Secret to Everybody";
let directory: string;
let webhooks: SignedWebhooks;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "leasehold-forge-"));
  const webhookSecretFile = join(directory, "secret");
  writeFileSync(webhookSecretFile, `${secret}\n`);
  const entry = (kind: ForgeKind) => ({
    name: kind,
    kind,
    url: "https://x",
    apiUrl: "https://x/api",
    webhookSecretFile,
  });
  webhooks = new SignedWebhooks(forgeKinds.map(entry));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function read(kind: ForgeKind, { headers, body }: Sent) {
  const forge = webhooks.sender(kind);
  if (!forge) throw new Error(`${kind} may send nothing`);
  return webhooks.read(forge, (name) => headers[name], Buffer.from(body));
}

async function eventOf(kind: ForgeKind, named: readonly [string, object]): Promise<ForgeEvent | string> {
  const reading = await read(kind, message(kind, secret, named));
  return reading.kind === "event" ? reading.event : reading.kind;
}

const subject = (state: string, kind = "ISSUE", project = "o/n") => ({
  kind: "subject",
  project,
  subject: kind,
  number: 7,
  state,
});

test.each(["forgejo", "gitea", "github"] as const)(
  "D3 %s: issues, pull requests, branches and pushes",
  async (kind) => {
    const { issue, pull, deleted, push } = githubLike;
    expect(await eventOf(kind, issue("o/n", "closed"))).toEqual(subject("CLOSED"));
    expect(await eventOf(kind, issue("o/n", "reopened"))).toEqual(subject("OPEN"));
    expect(await eventOf(kind, pull("o/n", "closed"))).toEqual(subject("CLOSED", "PULL_REQUEST"));
    expect(await eventOf(kind, pull("o/n", "closed", true))).toEqual(subject("MERGED", "PULL_REQUEST"));
    expect(await eventOf(kind, pull("o/n", "reopened"))).toEqual(subject("OPEN", "PULL_REQUEST"));
    const gone = { kind: "branch-deleted", project: "o/n", branch: "feature/x" };
    expect(await eventOf(kind, deleted("o/n", "feature/x"))).toEqual(gone);
    expect(await eventOf(kind, push("o/n", "refs/heads/feature/x", noCommit))).toEqual(gone);
    expect(await eventOf(kind, push("o/n"))).toEqual({ kind: "push", project: "o/n" });
    expect(await eventOf(kind, push("o/n", "refs/tags/v1"))).toEqual({ kind: "push", project: "o/n" });
    for (const named of [
      issue("o/n", "opened"),
      issue("o/n", "label_updated"),
      pull("o/n", "synchronize"),
      deleted("o/n", "v1", "tag"),
      ["ping", { zen: "Keep it logically awesome." }] as const,
      ["issue_comment", { action: "created" }] as const,
    ]) {
      expect(await eventOf(kind, named), named[0]).toBe("ignored");
    }
  },
);

test("D3 gitlab: issues, work items, merge requests, branches and pushes, in nested groups", async () => {
  const project = "g/sub/n";
  const of = (named: readonly [string, object]) => eventOf("gitlab", named);
  expect(await of(gitlab.issue(project, "close"))).toEqual(subject("CLOSED", "ISSUE", project));
  expect(await of(gitlab.issue(project, "reopen"))).toEqual(subject("OPEN", "ISSUE", project));
  expect(await of(gitlab.issue(project, "close", "work_item"))).toEqual(subject("CLOSED", "ISSUE", project));
  expect(await of(gitlab.merge(project, "close"))).toEqual(subject("CLOSED", "PULL_REQUEST", project));
  expect(await of(gitlab.merge(project, "merge"))).toEqual(subject("MERGED", "PULL_REQUEST", project));
  expect(await of(gitlab.merge(project, "reopen"))).toEqual(subject("OPEN", "PULL_REQUEST", project));
  const gone = { kind: "branch-deleted", project, branch: "topic" };
  expect(await of(gitlab.push(project, "refs/heads/topic", noCommit))).toEqual(gone);
  expect(await of(gitlab.push(project))).toEqual({ kind: "push", project });
  expect(await of(gitlab.push(project, "refs/tags/v1", noCommit, "tag_push"))).toEqual({ kind: "push", project });
  for (const named of [
    gitlab.issue(project, "update"),
    gitlab.merge(project, "approved"),
    ["Note Hook", { object_kind: "note" }] as const,
    ["Issue Hook", { object_kind: "work_item", object_attributes: { iid: 7, action: "close", type: "Epic" } }] as const,
  ]) {
    expect(await of(named), named[0]).toBe("ignored");
  }
});

test("D3 a message counts only with the whole signature of its bytes by this forge's secret", async () => {
  for (const kind of forgeKinds) {
    const named = kind === "gitlab" ? gitlab.issue("o/n", "close") : githubLike.issue("o/n", "closed");
    const right = message(kind, secret, named);
    expect((await read(kind, right)).kind, kind).toBe("event");
    const name = {
      forgejo: "x-forgejo-signature",
      gitea: "x-gitea-signature",
      github: "x-hub-signature-256",
      gitlab: "x-gitlab-token",
    }[kind];
    const value = right.headers[name] ?? "";
    const signed = Object.keys(right.headers).filter((header) => /signature|token/.test(header));
    const without = Object.fromEntries(Object.entries(right.headers).filter(([header]) => !signed.includes(header)));
    for (const wrong of [
      undefined,
      "",
      value.slice(0, -1),
      value.slice(0, -2),
      `${value}00`,
      `${value}, ${value}`,
      "x",
    ]) {
      const headers = { ...right.headers, [name]: wrong as string };
      // an empty or a wrong one is not rescued by a right one behind it
      expect(
        (await read(kind, { ...right, headers: wrong === undefined ? without : headers })).kind,
        `${kind} ${wrong}`,
      ).toBe("unsigned");
    }
    expect((await read(kind, message(kind, "another", named))).kind, kind).toBe("unsigned");
    if (kind !== "gitlab") expect((await read(kind, { ...right, body: `${right.body} ` })).kind, kind).toBe("unsigned");
  }
  // the signature's form is each forge's own
  const [event, payload] = githubLike.issue("o/n", "closed");
  const body = JSON.stringify(payload);
  const bare = { "x-github-event": event, "x-hub-signature-256": hmac(secret, body) };
  expect((await read("github", { headers: bare, body })).kind).toBe("unsigned");
});

test("D3 nothing is read of what is not signed, and what is signed and wrong is told by its place alone", async () => {
  const wrong = (body: string, kind: ForgeKind = "github", event = "issues") => {
    const headers = {
      "x-github-event": event,
      "x-hub-signature-256": `sha256=${hmac(secret, body)}`,
      "x-gitlab-token": secret,
    };
    return read(kind, { headers, body });
  };
  expect((await read("github", { headers: { "x-github-event": "issues" }, body: "{" })).kind).toBe("unsigned");
  for (const body of [
    "",
    "{",
    "[]",
    "null",
    '{"action":7}',
    '{"action":"closed"}',
    '{"action":"closed","repository":{"full_name":"s3cret"}}',
  ]) {
    const reading = await wrong(body);
    expect(reading.kind, body).toBe("malformed");
    expect(JSON.stringify(reading)).not.toContain("s3cret");
  }
  const number = (value: unknown) =>
    JSON.stringify({ action: "closed", repository: { full_name: "o/n" }, issue: { number: value } });
  for (const value of ["7", 0, -1, 1.5, null, 2 ** 53])
    expect((await wrong(number(value))).kind, String(value)).toBe("malformed");
  const branch = (ref: string) => JSON.stringify({ ref, ref_type: "branch", repository: { full_name: "o/n" } });
  for (const ref of ["", "a\u0000b", "a\nb", "x".repeat(2_000)])
    expect((await wrong(branch(ref), "github", "delete")).kind).toBe("malformed");
  expect(
    (
      await wrong(
        '{"object_kind":"issue","object_attributes":{"action":"close"},"project":{"path_with_namespace":"n"}}',
        "gitlab",
      )
    ).kind,
  ).toBe("malformed");
});

test("D3 a delivery has the forge's own name, and one of its words where there is none", async () => {
  const id = async (kind: ForgeKind, headers: Record<string, string | undefined>) => {
    const named = kind === "gitlab" ? gitlab.push("o/n") : githubLike.issue("o/n", "closed");
    const sent = message(kind, secret, named, "delivery-1");
    const reading = await read(kind, { ...sent, headers: { ...sent.headers, ...headers } as Record<string, string> });
    return reading.kind === "event" ? reading : undefined;
  };
  for (const kind of forgeKinds) expect((await id(kind, {}))?.deliveryId).toBe("delivery-1");
  const digest = /^[0-9a-f]{64}$/;
  expect((await id("github", { "x-github-delivery": undefined }))?.deliveryId).toMatch(digest);
  expect((await id("github", { "x-github-delivery": "a b" }))?.deliveryId).toMatch(digest);
  const old = { "idempotency-key": undefined };
  expect((await id("gitlab", { ...old, "x-gitlab-event-uuid": "e1" }))?.deliveryId).toMatch(/^e1\.[0-9a-f]{64}$/);
  // the name is not signed: what was, is guarded by itself
  expect((await id("github", {}))?.digest).toMatch(digest);
  expect((await id("gitlab", {}))?.digest).toBe("");
});

test("D3 a project's repositories are those of the forge's host, over any protocol; others are not", () => {
  const is = (url: string, forge = "https://git.example.com", project = "Owner/name") =>
    isOfProject(url, forge, project);
  for (const url of [
    "https://git.example.com/owner/name.git",
    "https://git.example.com/Owner/Name",
    "ssh://git@git.example.com/owner/name.git",
    "ssh://git@git.example.com:2222/owner/name",
    "git@git.example.com:owner/name.git",
    "git.example.com:/owner/name.git",
  ]) {
    expect(is(url), url).toBe(true);
  }
  for (const url of [
    "https://git.example.org/owner/name.git",
    "https://git.example.com:8443/owner/name.git",
    "https://git.example.com/owner/name2.git",
    "https://git.example.com/x/owner/name.git",
    "https://git.example.com/owner/name.git/wiki",
    "git@other.example.com:owner/name.git",
    "/git.example.com/owner/name.git",
  ]) {
    expect(is(url), url).toBe(false);
  }
  expect(is("https://example.com/git/owner/name.git", "https://example.com/git")).toBe(true);
  expect(is("https://example.com/owner/name.git", "https://example.com/git")).toBe(false);
  expect(is("http://127.0.0.1:3000/owner/name.git", "http://127.0.0.1:3000")).toBe(true);
  expect(is("http://127.0.0.1:3001/owner/name.git", "http://127.0.0.1:3000")).toBe(false);
});

test("D3 a subject is told of by all URLs that sessions may have of it", () => {
  const closed = { kind: "subject", project: "o/n", subject: "PULL_REQUEST", number: 7, state: "CLOSED" } as const;
  const forge = (kind: ForgeKind) => ({ name: "f", kind, url: "https://x" });
  expect(subjectUrls(forge("github"), closed)).toEqual([
    "https://x/o/n/issues/7",
    "https://x/o/n/pulls/7",
    "https://x/o/n/pull/7",
  ]);
  expect(subjectUrls(forge("gitlab"), closed)).toEqual(["https://x/o/n/-/merge_requests/7"]);
  expect(subjectUrls(forge("gitlab"), { ...closed, subject: "ISSUE" })).toEqual([
    "https://x/o/n/-/issues/7",
    "https://x/o/n/-/work_items/7",
  ]);
});

test("D3 a session's subject is the one that its forge tells of, however caller and forge spell the project", () => {
  for (const kind of ["forgejo", "gitea", "github", "gitlab"] as const) {
    const forge = { name: "f", kind, url: "https://git.example.com/Base" };
    const page = kind === "gitlab" ? "-/issues/7" : "issues/7";
    const closed = { kind: "subject", project: "Acme/Widget", subject: "ISSUE", number: 7, state: "CLOSED" } as const;
    const told = subjectUrls(forge, closed);
    for (const url of [
      `https://git.example.com/Base/acme/widget/${page}`,
      `https://git.example.com/Base/ACME/Widget/${page}`,
      `HTTPS://Git.Example.com/Base/Acme/Widget/${page}#note`,
    ]) {
      const subject = subjectOf(url, [forge]);
      expect(subject?.url, url).toBe(`https://git.example.com/Base/acme/widget/${page}`);
      expect(told, url).toContain(subject?.url);
    }
  }
});

test("D3 an upstream is on the forge whose URL it is below, over HTTP or SSH, and on none if its host does not tell", () => {
  const forges = [
    { name: "base", kind: "gitea", url: "https://git.example.com" },
    { name: "below", kind: "gitlab", url: "https://git.example.com/Lab" },
    { name: "other", kind: "github", url: "https://other.example.com:8443" },
  ] as const;
  for (const [url, name] of [
    ["https://git.example.com/acme/widget.git", "base"],
    ["https://git.example.com/lab/acme/widget.git", "below"],
    ["https://git.example.com/labor/widget.git", "base"],
    ["https://other.example.com:8443/acme/widget", "other"],
    ["https://other.example.com/acme/widget", ""],
    ["git@other.example.com:acme/widget.git", "other"],
    ["ssh://git@other.example.com:2222/acme/widget.git", "other"],
    ["git@git.example.com:acme/widget.git", ""],
    ["/srv/git.example.com/widget.git", ""],
  ] as const) {
    expect(forgeOf(url, forges), url).toBe(name);
  }
});
