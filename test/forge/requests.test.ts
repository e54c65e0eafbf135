/** How forges are asked: one request at a time, apart from each other, with limits, and only where the token may go. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { RequestLimits } from "../../src/forge/forge-client.js";
import { HttpForges } from "../../src/forge/http-forges.js";
import { ApiServer, bodies, inTurn, status } from "./api-server.js";
import { MovedClock } from "./moved-clock.js";

const token = "s3cret-of-the-test";
let api: ApiServer;
let clock: MovedClock;
let directory: string;
let tokenFile: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "leasehold-forge-"));
  tokenFile = join(directory, "token");
  writeFileSync(tokenFile, token);
});
beforeEach(async () => {
  clock = new MovedClock();
  api = await ApiServer.start(clock.now);
  return () => api.stop();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const open = status(200, bodies.gitea.issue("open"));

function asking(limits: Partial<RequestLimits> = {}) {
  const entry = { name: "ours", kind: "gitea", url: "https://git.example.com", apiUrl: api.url, tokenFile } as const;
  const forges = new HttpForges([entry], { clock, limits });
  return (number: number, signal?: AbortSignal) =>
    forges.state({ url: "", forge: "ours", project: "o/n", kind: "ISSUE", number }, signal);
}

function path(number: number): string {
  return `/repos/o/n/issues/${number}`;
}

test("C5 N subjects take at least (N - 1) times 200 ms, and one request runs at a time, however many ask", async () => {
  const ask = asking();
  const numbers = Array.from({ length: 20 }, (_, index) => index + 1);
  for (const number of numbers) api.answers.set(path(number), open);
  const answers = await Promise.all(numbers.map((number) => ask(number)));
  expect(answers.every(({ state }) => state === "OPEN")).toBe(true);
  expect(clock.now()).toBeGreaterThanOrEqual((numbers.length - 1) * 200);
  const times = api.asked.map(({ time }) => time);
  for (const [index, time] of times.slice(1).entries()) expect(time - (times[index] ?? 0)).toBeGreaterThanOrEqual(200);
  expect(api.mostAtOnce).toBe(1);
  expect(api.asked.map((asked) => asked.path)).toEqual(numbers.map(path));
});

test("C5 two forges do not wait for each other", async () => {
  const other = await ApiServer.start();
  let letGo = () => {};
  const held = new Promise<void>((resolve) => (letGo = resolve));
  api.answers.set(path(1), (response, request) => void held.then(() => open(response, request)));
  other.answers.set(path(1), open);
  const forge = (name: string, apiUrl: string) => ({ name, kind: "gitea", url: `https://${name}`, apiUrl }) as const;
  const forges = new HttpForges([forge("slow", api.url), forge("quick", other.url)]);
  const ask = (name: string) => forges.state({ url: "", forge: name, project: "o/n", kind: "ISSUE", number: 1 });
  const slow = ask("slow");
  expect(await ask("quick")).toMatchObject({ state: "OPEN" });
  letGo();
  expect(await slow).toMatchObject({ state: "OPEN" });
  await other.stop();
});

test("C5 429 with a short Retry-After is waited for and asked again", async () => {
  const ask = asking();
  api.answers.set(path(1), inTurn(status(429, {}, { "retry-after": "3" }), open));
  expect(await ask(1)).toMatchObject({ state: "OPEN" });
  const [first, second] = api.asked;
  expect((second?.time ?? 0) - (first?.time ?? 0)).toBeGreaterThanOrEqual(3_000);
  expect(clock.pauses).toEqual([3_000]);
});

test("C5 while a forge wants to be left alone for long, all questions are unknown at once, and none is asked", async () => {
  const ask = asking();
  api.answers.set(path(1), status(429, {}, { "retry-after": "3600" }));
  api.answers.set(path(2), open);
  const [first, second] = await Promise.all([ask(1), ask(2)]);
  expect(first).toEqual({
    state: "UNKNOWN",
    failed: true,
    problem: "the forge wants to be asked again in 3600 s at the earliest",
  });
  expect(second).toEqual(first);
  expect(await ask(2)).toMatchObject({ state: "UNKNOWN", failed: true });
  expect(api.asked).toHaveLength(1);
  expect(clock.pauses).toEqual([]);
  clock.move(3_595_000);
  expect(await ask(2)).toMatchObject({ state: "OPEN" });
  expect(api.asked.at(-1)?.time).toBeGreaterThanOrEqual(3_600_000);
});

test.each([
  // the forge's own clock may be wrong: its reset is of that clock
  ["GitHub", { "x-ratelimit-remaining": "0", "x-ratelimit-reset": String(Date.parse("2030-01-01T00:00:30Z") / 1_000) }],
  ["GitLab", { "ratelimit-remaining": "0", "ratelimit-reset": String(Date.parse("2030-01-01T00:00:30Z") / 1_000) }],
  ["a draft standard", { "ratelimit-remaining": "0", "ratelimit-reset": "30" }],
  ["HTTP", { "retry-after": "Tue, 01 Jan 2030 00:00:30 GMT" }],
])("C5 limits in the words of %s are honoured", async (_who, headers) => {
  const ask = asking();
  api.answers.set(path(1), status(403, {}, { date: "Tue, 01 Jan 2030 00:00:00 GMT", ...headers }));
  api.answers.set(path(2), open);
  expect((await ask(1)).problem).toContain("in 30 s");
  expect((await ask(2)).problem).toContain("in 30 s");
  clock.move(30_000);
  expect(await ask(2)).toMatchObject({ state: "OPEN" });
});

test("C5 the last answer of a budget is used, and the next question is not asked before the reset", async () => {
  const ask = asking();
  const headers = {
    date: "Tue, 01 Jan 2030 00:00:00 GMT",
    "x-ratelimit-remaining": "0",
    "x-ratelimit-reset": "1893456060",
  };
  api.answers.set(path(1), status(200, bodies.gitea.issue("closed"), headers));
  expect(await ask(1)).toMatchObject({ state: "CLOSED" });
  expect(await ask(1)).toMatchObject({ state: "UNKNOWN", failed: true });
  expect(api.asked).toHaveLength(1);
});

test("C5 429 without a word leaves the forge alone for a minute", async () => {
  const ask = asking();
  api.answers.set(path(1), status(429, {}));
  expect((await ask(1)).problem).toContain("in 60 s");
});

test("C5 a forge that says nothing is left after its time, and the next is asked", async () => {
  const ask = asking({ timeoutMs: 200 });
  api.answers.set(path(1), () => {});
  // begins, and never ends
  api.answers.set(path(2), (response) => void response.writeHead(200).write('{"state":'));
  api.answers.set(path(3), open);
  const answers = await Promise.all([ask(1), ask(2), ask(3)]);
  expect(answers.map(({ state, failed }) => [state, failed])).toEqual([
    ["UNKNOWN", true],
    ["UNKNOWN", true],
    ["OPEN", false],
  ]);
  expect(answers[0]?.problem).toBe("the forge did not answer in time");
});

test("C5 who asks can give up, and the forge is free for the next", async () => {
  const ask = asking();
  const leaving = new AbortController();
  api.answers.set(path(1), (_response, request) => void (request.url && leaving.abort()));
  api.answers.set(path(3), open);
  const [left, queued] = [ask(1, leaving.signal), ask(2, leaving.signal)];
  expect(await left).toMatchObject({ state: "UNKNOWN", failed: true });
  expect(await queued).toMatchObject({ state: "UNKNOWN", failed: true });
  expect(await ask(3)).toMatchObject({ state: "OPEN" });
  expect(api.asked.map((asked) => asked.path)).toEqual([path(1), path(3)]);
});

test("C5 no more than a mebibyte of an answer is taken", async () => {
  const ask = asking();
  const long = (bytes: number) => ({ state: "open", body: "x".repeat(bytes) });
  api.answers.set(path(1), status(200, long(1024 * 1024 - 100)));
  api.answers.set(path(2), status(200, long(1024 * 1024)));
  let written = 0;
  api.answers.set(path(3), (response) => {
    const more = () => {
      while (!response.destroyed && response.write("x".repeat(65_536))) written += 65_536;
      if (!response.destroyed) response.once("drain", more);
    };
    response.writeHead(200);
    more();
  });
  expect(await ask(1)).toMatchObject({ state: "OPEN" });
  expect(await ask(2)).toMatchObject({
    state: "UNKNOWN",
    failed: true,
    problem: expect.stringContaining("1048576 bytes"),
  });
  expect(await ask(3)).toMatchObject({ state: "UNKNOWN", failed: true });
  expect(written).toBeLessThan(32 * 1024 * 1024);
});

test("C5 the token goes to no other origin, not even to where the forge redirects", async () => {
  const ask = asking();
  const other = await ApiServer.start();
  other.answers.set(path(1), open);
  const localhost = api.url.replace("127.0.0.1", "localhost");
  for (const target of [`${other.url}${path(1)}`, `//${new URL(other.url).host}${path(1)}`, `${localhost}${path(2)}`]) {
    api.answers.set(path(1), status(302, {}, { location: target }));
    expect(await ask(1), target).toMatchObject({
      state: "UNKNOWN",
      failed: true,
      problem: "the forge redirects to another origin",
    });
  }
  expect(other.asked).toEqual([]);
  expect(api.asked.map((asked) => asked.path)).toEqual([path(1), path(1), path(1)]);
  await other.stop();
});

test("C5 redirects within the origin are followed a few times, each of them apart", async () => {
  const ask = asking();
  api.answers.set(path(1), status(301, {}, { location: "/repositories/5/issues/1" }));
  api.answers.set("/repositories/5/issues/1", status(307, {}, { location: "/repositories/6/issues/1" }));
  api.answers.set("/repositories/6/issues/1", open);
  expect(await ask(1)).toMatchObject({ state: "OPEN" });
  expect(api.asked.map(({ headers }) => headers.authorization)).toEqual(Array(3).fill(`token ${token}`));
  expect(clock.now()).toBeGreaterThanOrEqual(400);
  api.answers.set(path(2), status(302, {}, { location: path(2) }));
  expect(await ask(2)).toMatchObject({ state: "UNKNOWN", failed: true, problem: "the forge redirects without end" });
  expect(api.asked).toHaveLength(3 + 4);
});

test("C5 a forge that cannot be reached is a failure that says so, and has no secret in it", async () => {
  const ask = asking();
  await api.stop();
  const answer = await ask(1);
  expect(answer).toEqual({ state: "UNKNOWN", failed: true, problem: "the forge could not be reached: ECONNREFUSED" });
  api = await ApiServer.start();
  api.answers.set(path(1), (response) => response.destroy());
  const broken = await asking()(1);
  expect(broken).toMatchObject({ state: "UNKNOWN", failed: true });
  for (const { problem } of [answer, broken]) expect(problem).not.toContain(token);
});
