/** What the four kinds of forges say of issues and pull requests, over real HTTP. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type ForgeKind, subjectOf } from "../../src/domain/subject.js";
import { HttpForges } from "../../src/forge/http-forges.js";
import { ApiServer, bodies, status, tagged } from "./api-server.js";
import { MovedClock } from "./moved-clock.js";

const token = "s3cret-of-the-test";
let api: ApiServer;
let directory: string;
let tokenFile: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "leasehold-forge-"));
  tokenFile = join(directory, "token");
  writeFileSync(tokenFile, `${token}\nnot this\n`);
});
beforeEach(async () => {
  api = await ApiServer.start();
  return () => api.stop();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function forgeOf(kind: ForgeKind, withToken = true) {
  const base = { forgejo: "/api/v1", gitea: "/api/v1", github: "/api/v3", gitlab: "/api/v4" }[kind];
  const entry = { name: "ours", kind, url: "https://git.example.com", apiUrl: `${api.url}${base}` };
  const forges = new HttpForges([{ ...entry, ...(withToken && { tokenFile }) }], { clock: new MovedClock() });
  const ask = (page: string) => {
    const subject = subjectOf(`https://git.example.com/${page}`, forges.configured);
    if (!subject) throw new Error(`${page} is no subject`);
    return forges.state(subject);
  };
  return { forges, ask };
}

const known = (state: string) => ({ state, problem: "", failed: false });

test.each(["forgejo", "gitea", "github"] as const)(
  "C2 %s: issues and pull requests are open, closed or merged",
  async (kind) => {
    const { ask } = forgeOf(kind);
    const { issue, pull } = kind === "github" ? bodies.github : bodies.gitea;
    const base = kind === "github" ? "/api/v3" : "/api/v1";
    const pages: readonly (readonly [string, unknown, string])[] = [
      ["issues/1", issue("open"), "OPEN"],
      ["issues/2", issue("closed"), "CLOSED"],
      ["pulls/3", pull("open", false), "OPEN"],
      ["pulls/4", pull("closed", false), "CLOSED"],
      ["pulls/5", pull("closed", true), "MERGED"],
      // a pull request that somebody calls an issue
      ["issues/6", issue("closed", true), "MERGED"],
      ["issues/7", issue("closed", false), "CLOSED"],
      ["issues/8", issue("open", false), "OPEN"],
    ];
    for (const [page, body, state] of pages) {
      api.answers.set(`${base}/repos/owner/name/${page}`, status(200, body));
      expect(await ask(`owner/name/${page}`), page).toEqual(known(state));
    }
    const header = kind === "github" ? `Bearer ${token}` : `token ${token}`;
    expect(new Set(api.asked.map(({ headers }) => headers.authorization))).toEqual(new Set([header]));
  },
);

test("C2 gitlab: issues and merge requests of nested groups are open, closed or merged", async () => {
  const { ask } = forgeOf("gitlab");
  const { issue, pull } = bodies.gitlab;
  const pages: readonly (readonly [string, string, unknown, string])[] = [
    ["issues/1", "issues/1", issue("opened"), "OPEN"],
    ["issues/2", "issues/2", issue("closed"), "CLOSED"],
    ["work_items/3", "issues/3", issue("closed"), "CLOSED"],
    ["merge_requests/4", "merge_requests/4", pull("opened"), "OPEN"],
    ["merge_requests/5", "merge_requests/5", pull("closed"), "CLOSED"],
    ["merge_requests/6", "merge_requests/6", pull("merged"), "MERGED"],
    ["merge_requests/7", "merge_requests/7", pull("locked"), "OPEN"],
  ];
  for (const [page, path, body, state] of pages) {
    api.answers.set(`/api/v4/projects/group%2Fsub%2Fname/${path}`, status(200, body));
    expect(await ask(`group/sub/name/-/${page}`), page).toEqual(known(state));
  }
  expect(new Set(api.asked.map(({ headers }) => headers["private-token"]))).toEqual(new Set([token]));
});

test("C2 without a token file no token is sent", async () => {
  const { ask } = forgeOf("github", false);
  api.answers.set("/api/v3/repos/o/n/issues/1", status(200, bodies.github.issue("open")));
  expect(await ask("o/n/issues/1")).toEqual(known("OPEN"));
  expect(api.asked[0]?.headers.authorization).toBeUndefined();
});

test("C2 what the forge has not, or does not show, is unknown, and no failure", async () => {
  const { ask } = forgeOf("forgejo");
  expect(await ask("o/n/issues/404")).toMatchObject({ state: "UNKNOWN", failed: false });
  api.answers.set("/api/v1/repos/o/n/issues/410", status(410, {}));
  expect(await ask("o/n/issues/410")).toMatchObject({ state: "UNKNOWN", failed: false });
  // a project that leads out of its own part of the API is not asked for
  const asked = api.asked.length;
  for (const page of ["../admin/issues/1", "o/../issues/1", "o/%2e%2e/issues/1"]) {
    expect(await ask(page), page).toMatchObject({ state: "UNKNOWN", failed: false });
  }
  expect(api.asked).toHaveLength(asked);
});

test("C2 an answer that is not of the API is unknown and a failure, whatever is wrong with it", async () => {
  const { ask } = forgeOf("gitea");
  const path = "/api/v1/repos/o/n/issues/1";
  for (const body of [null, [], "open", {}, { state: "OPEN" }, { state: true }, { state: { state: "open" } }]) {
    api.answers.set(path, status(200, body));
    expect(await ask("o/n/issues/1"), JSON.stringify(body)).toMatchObject({ state: "UNKNOWN", failed: true });
  }
  api.answers.set(path, (response) => response.writeHead(200).end("<html>log in"));
  expect(await ask("o/n/issues/1")).toMatchObject({ state: "UNKNOWN", failed: true });
  for (const code of [400, 401, 403, 500, 502, 304]) {
    api.answers.set(path, status(code, {}));
    expect(await ask("o/n/issues/1"), String(code)).toMatchObject({ state: "UNKNOWN", failed: true });
  }
});

test("C5 what has not changed is not sent again: 304 is what it was", async () => {
  const { ask } = forgeOf("github");
  const path = "/api/v3/repos/o/n/issues/1";
  api.answers.set(path, tagged('W/"one"', bodies.github.issue("closed")));
  for (let time = 0; time < 3; time++) expect(await ask("o/n/issues/1")).toEqual(known("CLOSED"));
  expect(api.asked.map(({ headers }) => headers["if-none-match"])).toEqual([undefined, 'W/"one"', 'W/"one"']);
  api.answers.set(path, tagged('W/"two"', bodies.github.issue("open")));
  expect(await ask("o/n/issues/1")).toEqual(known("OPEN"));
  expect(await ask("o/n/issues/1")).toEqual(known("OPEN"));
  expect(api.asked.at(-1)?.headers["if-none-match"]).toBe('W/"two"');
});

test("C5 a bounded number of answers is kept, the latest ones", async () => {
  const clock = new MovedClock();
  const entry = { name: "ours", kind: "gitea", url: "https://git.example.com", apiUrl: api.url } as const;
  const forges = new HttpForges([entry], { clock, limits: { maxKept: 2 } });
  for (const number of [1, 2, 3])
    api.answers.set(`/repos/o/n/issues/${number}`, tagged(`"${number}"`, bodies.gitea.issue("open")));
  const ask = (number: number) => forges.state({ url: "", forge: "ours", project: "o/n", kind: "ISSUE", number });
  for (const number of [1, 2, 3, 1, 3]) expect(await ask(number)).toEqual(known("OPEN"));
  expect(api.asked.map(({ headers }) => headers["if-none-match"])).toEqual([
    undefined,
    undefined,
    undefined,
    undefined,
    '"3"',
  ]);
});

test("C2 a token that was changed is used, and one that is gone fails without a word of it", async () => {
  const file = join(directory, "rotated");
  writeFileSync(file, "first\n");
  const entry = {
    name: "ours",
    kind: "gitea",
    url: "https://git.example.com",
    apiUrl: api.url,
    tokenFile: file,
  } as const;
  const ask = () =>
    // a second later is another reader: the file is read again then
    new HttpForges([entry]).state({ url: "", forge: "ours", project: "o/n", kind: "ISSUE", number: 1 });
  await ask();
  writeFileSync(file, "second\n");
  await ask();
  expect(api.asked.map(({ headers }) => headers.authorization)).toEqual(["token first", "token second"]);
  rmSync(file);
  expect(await ask()).toMatchObject({ state: "UNKNOWN", failed: true });
  writeFileSync(file, "wr\u0001ong\n");
  const refused = await ask();
  expect(refused).toMatchObject({ state: "UNKNOWN", failed: true });
  expect(refused.problem).not.toContain("ong\n");
  expect(api.asked).toHaveLength(2);
});
