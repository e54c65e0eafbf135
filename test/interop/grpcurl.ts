/** Owns: the program grpcurl, of one fixed version, made from the Go module proxy. */
import { join } from "node:path";
import { cached } from "./tool-cache.js";
import { buildLimitMs, mayRun, reachLimitMs } from "./toolchain.js";

const tool = "github.com/fullstorydev/grpcurl";
const version = "v1.9.3";

/** Path of the program. */
export async function makeGrpcurl(): Promise<string> {
  const directory = await cached("grpcurl", [version], async (place) => {
    // The registry shows within its own limit that it is there.
    await mayRun("go", ["list", "-m", `${tool}@${version}`], { cwd: place, limitMs: reachLimitMs });
    const env = { GOBIN: place };
    await mayRun("go", ["install", `${tool}/cmd/grpcurl@${version}`], { cwd: place, env, limitMs: buildLimitMs });
  });
  return join(directory, "grpcurl");
}
