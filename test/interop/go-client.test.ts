/** A Go client that is generated from proto/ alone, with grpc-go and with connect-go. */
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { useServed } from "./served.js";
import { expectStory, type Story } from "./story.js";
import { cached, contents } from "./tool-cache.js";
import { buildLimitMs, mayRun, mustRun, needTool, reachLimitMs, root, run } from "./toolchain.js";

const sources = join(root, "test/interop/go");
const proto = join(root, "proto");
const buf = join(root, "node_modules/.bin/buf");

const client = needTool("Go client", async () => {
  const version = await mayRun("go", ["env", "GOVERSION"]);
  const key = [version, ...contents(sources), ...contents(proto)];
  const directory = await cached("go-client", key, async (place) => {
    cpSync(sources, place, { recursive: true });
    await mayRun("go", ["mod", "download", ...(await requiredModules(place))], { cwd: place, limitMs: reachLimitMs });
    const env = { GOBIN: join(place, "bin") };
    await mustRun("go", ["install", "tool"], { cwd: place, env, limitMs: buildLimitMs });
    await mustRun(buf, ["generate", proto], { cwd: place });
    await mustRun("go", ["vet", "."], { cwd: place, limitMs: buildLimitMs });
    await mustRun("go", ["build", "-o", "client", "."], { cwd: place, limitMs: buildLimitMs });
    for (const made of ["bin", "gen"]) rmSync(join(place, made), { recursive: true });
  });
  return join(directory, "client");
});

const served = useServed();

test.each(["grpc", "connect", "connect-grpc", "connect-grpcweb"])(
  "F2 F5 a Go client works over %s",
  async (protocol) => {
    const { code, stdout, stderr } = await run(client(), [protocol, served().target, served().upstream]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expectStory(JSON.parse(stdout) as Story);
  },
);

/** What go.mod names, the test dependencies of others left out. */
async function requiredModules(directory: string): Promise<string[]> {
  const text = await mayRun("go", ["mod", "edit", "-json"], { cwd: directory });
  const { Require } = JSON.parse(text) as { Require: { Path: string }[] };
  return Require.map(({ Path }) => Path);
}
