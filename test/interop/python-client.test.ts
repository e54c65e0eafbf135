/** A Python client that is generated from proto/ alone, with grpcio. */
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { useServed } from "./served.js";
import { expectStory, type Story } from "./story.js";
import { cached, contents } from "./tool-cache.js";
import { mayRun, mustRun, needTool, root, run } from "./toolchain.js";

const sources = join(root, "test/interop/python");
const proto = join(root, "proto");
const requirements = join(sources, "requirements.txt");
const installLimitMs = 180_000;

const python = needTool("Python with grpcio", async () => {
  const version = await mayRun("python3", ["-VV"]);
  const directory = await cached("python", [version, ...contents(requirements)], async (place) => {
    await mayRun("python3", ["-m", "venv", place]);
    const quickly = ["--quiet", "--timeout=20", "--retries=1", "--only-binary=:all:"];
    const args = ["-m", "pip", "install", ...quickly, "--requirement", requirements];
    await mayRun(join(place, "bin/python"), args, { limitMs: installLimitMs });
  });
  return join(directory, "bin/python");
});

const served = useServed();

test.each(["TCP", "a unix socket"])("F2 F5 a Python client works over %s", async (way) => {
  const { target, socketPath, upstream, directory } = served();
  const generated = await generate(join(directory, "generated"));
  const args = [join(sources, "client.py"), way === "TCP" ? target : `unix:${socketPath}`, upstream];
  const env = { PYTHONPATH: generated, PYTHONDONTWRITEBYTECODE: "1" };
  const { code, stdout, stderr } = await run(python(), args, { env });
  expect(stderr).toBe("");
  expect(code).toBe(0);
  expectStory(JSON.parse(stdout) as Story);
});

async function generate(generated: string): Promise<string> {
  mkdirSync(generated, { recursive: true });
  const out = [`--python_out=${generated}`, `--grpc_python_out=${generated}`];
  const files = readdirSync(join(proto, "leasehold/v1")).map((name) => join("leasehold/v1", name));
  await mustRun(python(), ["-m", "grpc_tools.protoc", `--proto_path=${proto}`, ...out, ...files], { cwd: proto });
  return generated;
}
