import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { git, UpstreamRepository } from "../support/repositories.js";
import { Bench, Site } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
let made = 0;

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", {
    "a.txt": "AAA\n",
    "crlf.txt": "one\ntwo\n",
    "ident.txt": "$Id$\n",
    link: { link: "a.txt" },
    ".gitattributes": "crlf.txt eol=crlf\nident.txt ident\n",
  });
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

const newSite = (of = mirror, url = upstream.path): Site => new Site(bench, of, url, `v${++made}`);

/** Changes a file in place and puts its times back. */
function alter(path: string, content: string): void {
  const { atime, mtime } = statSync(path);
  writeFileSync(path, content);
  utimesSync(path, atime, mtime);
}

describe("G1 deep verification believes no time and reads", () => {
  /** As an attacker of the same user can: the trusted copy says what is there now. */
  const forge = (site: Site, change: (path: string) => void): void => {
    change(site.path);
    git(site.path, "add", "--all");
    const trusted = readFileSync(site.trustedIndex);
    writeFileSync(
      site.trustedIndex,
      Buffer.concat([readFileSync(join(site.path, ".git/index")), trusted.subarray(-40)]),
    );
  };

  test.each([
    ["crlf.txt", "one\r\ntwo\n"],
    ["crlf.txt", "one\ntwo\n"],
    ["ident.txt", "$Id$\n"],
  ])("G1 a converted file: %s as %j is not what a checkout writes", async (name, content) => {
    const site = newSite();
    const target = await site.prepare();
    // git holds it for unchanged, as it converts back to the same blob
    forge(site, (path) => writeFileSync(join(path, name), content));
    expect(git(site.path, "status", "--porcelain")).toBe("");
    expect(await site.verify(target)).toMatchObject({ kind: "pristine" });
    expect(await site.verify(target, { deep: true })).toMatchObject({ findings: [`${name}: has other content`] });
    expect(readdirSync(bench.at("workspaces")).filter((entry) => entry.endsWith(".verify"))).toEqual([]);
  });

  test("G1 a file whose times and trusted copy were forged", async () => {
    const site = newSite();
    const target = await site.prepare();
    const trusted = readFileSync(site.trustedIndex);
    alter(join(site.path, "a.txt"), "BBB\n");
    const now = statSync(join(site.path, "a.txt"), { bigint: true });
    const at = trusted.indexOf("a.txt\0") - 62;
    trusted.writeUInt32BE(Number(now.ctimeNs / 1_000_000_000n), at);
    trusted.writeUInt32BE(Number(now.ctimeNs % 1_000_000_000n), at + 4);
    trusted.writeUInt32BE(Number(now.mtimeNs / 1_000_000_000n), at + 8);
    trusted.writeUInt32BE(Number(now.mtimeNs % 1_000_000_000n), at + 12);
    const end = trusted.length - 60;
    createHash("sha1").update(trusted.subarray(0, end)).digest().copy(trusted, end);
    writeFileSync(site.trustedIndex, trusted);
    writeFileSync(join(site.path, ".git/index"), trusted.subarray(0, -40));
    expect(await site.verify(target)).toMatchObject({ kind: "pristine" });
    expect(await site.verify(target, { deep: true })).toMatchObject({ findings: ["a.txt: has other content"] });
  });
});
