import { readFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Failure } from "../../src/domain/failure.js";
import type { UpstreamCredential } from "../../src/ports/git-engine.js";
import { UpstreamRepository } from "../support/repositories.js";
import { makeKey, SshServer, sshd } from "../support/ssh-server.js";
import { Bench } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });
if (!sshd) console.log("ssh upstreams are not tested: no sshd on this machine (LEASEHOLD_TEST_SSHD may name one)");

describe.skipIf(!sshd)("A1 ssh upstreams", () => {
  let bench: Bench;
  let upstream: UpstreamRepository;
  let server: SshServer;
  let made = 0;

  beforeAll(async () => {
    bench = new Bench();
    upstream = new UpstreamRepository(bench.at("upstream"));
    upstream.commit("one");
    server = await SshServer.start(sshd as string, bench.at("sshd"));
  });
  afterAll(async () => {
    server.stop();
    await bench.close();
  });

  async function clone(url: string, credential?: UpstreamCredential): Promise<string> {
    const path = bench.at(`m${++made}.git`);
    const request = { path, staging: bench.at("staging"), url, deadlineMs: 20_000 };
    await bench.engine.cloneMirror({ ...request, ...(credential && { credential }) });
    return path;
  }
  const denied = (work: Promise<unknown>): Promise<Failure> =>
    work.catch((error: Failure) => error) as Promise<Failure>;

  test("A1 with a key and known hosts, cloning and fetching", async () => {
    const credential = { privateKey: server.key, knownHosts: server.knownHosts };
    const url = server.url(upstream.path);
    const mirror = await clone(url, credential);
    const commit = upstream.commit("two");
    await bench.engine.fetchMirror({ path: mirror, url, credential, extraRefs: [], deadlineMs: 20_000 });
    expect(await bench.engine.resolve(mirror, "main")).toEqual({ commit, head: "refs/heads/main" });
    expect(readFileSync(join(mirror, "config"), "utf8")).not.toContain(url);
    const named = `ssh://127.0.0.1:${server.port}${upstream.path}`;
    await clone(named, { ...credential, username: userInfo().username });
  });

  test("B3 an unknown host, a changed host key, a wrong key, no key: UPSTREAM_DENIED", async () => {
    makeKey(bench.at("other"));
    const { key, knownHosts } = server;
    const otherKey = readFileSync(bench.at("other"), "utf8");
    const otherHost = knownHosts.replace(/ \S+\n$/, ` ${readFileSync(bench.at("other.pub"), "utf8").split(" ")[1]}\n`);
    const url = server.url(upstream.path);
    const credentials: UpstreamCredential[] = [
      { privateKey: key },
      { privateKey: key, knownHosts: "" },
      { privateKey: key, knownHosts: otherHost },
      { privateKey: otherKey, knownHosts },
      { knownHosts },
    ];
    for (const [index, credential] of credentials.entries()) {
      expect(await denied(clone(url, credential)), `${index}`).toMatchObject({ reason: "UPSTREAM_DENIED" });
    }
  });

  test("B3 no repository there: UPSTREAM_UNAVAILABLE", async () => {
    const credential = { privateKey: server.key, knownHosts: server.knownHosts };
    const error = await denied(clone(server.url(bench.at("none")), credential));
    expect(error).toMatchObject({ reason: "UPSTREAM_UNAVAILABLE" });
  });
});
