/** Owns: the program grpcurl, of one fixed version, made from the Go module proxy. */
import { join } from "node:path";
import { cached } from "./tool-cache.js";
import { mayRun, prepareLimitMs, reachLimitMs } from "./toolchain.js";

const tool = "github.com/fullstorydev/grpcurl";
const version = "v1.9.3";
/** It brings a lot that it does not need here, so it takes a minute or two; once. */
const buildLimitMs = 220_000;

/** Path of the program. */
export async function makeGrpcurl(): Promise<string> {
  const directory = await cached("grpcurl", [version], prepareLimitMs, async (place) => {
    // The registry shows within its own limit that it is there.
    await mayRun("go", ["list", "-m", `${tool}@${version}`], { cwd: place, limitMs: reachLimitMs });
    const env = { GOBIN: place };
    await mayRun("go", ["install", `${tool}/cmd/grpcurl@${version}`], { cwd: place, env, limitMs: buildLimitMs });
  });
  return join(directory, "grpcurl");
}
