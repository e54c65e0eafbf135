/** `buf curl`, which speaks all three protocols and, like grpcurl, finds everything by reflection. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { calledBy, takeAdminTour, tourLimitMs } from "./admin-tour.js";
import { useServed } from "./served.js";
import { mustRun, root, run } from "./toolchain.js";

const buf = join(root, "node_modules/.bin/buf");
const served = useServed();

const ways: Record<string, readonly string[]> = {
  grpc: ["--protocol=grpc", "--http2-prior-knowledge"],
  "grpcweb over HTTP-1.1": ["--protocol=grpcweb"],
  "connect over HTTP-1.1": ["--protocol=connect"],
};

describe.each(Object.entries(ways))("%s", (name, flags) => {
  test(
    "F2 F6 D4 buf curl makes every admin call, and Reclaim and Reset",
    async () => {
      const call = async (method: string, request: object) => {
        const url = `${served().url}/${method}`;
        return calledBy(await run(buf, ["curl", ...flags, "--data", JSON.stringify(request), url]));
      };
      await takeAdminTour(name.toLowerCase().replaceAll(" ", "-"), call, served());
    },
    tourLimitMs,
  );

  test("F2 buf curl reads the event stream to its end", async () => {
    const args = [
      "--data",
      '{"fromRevision":"1","untilNow":true}',
      `${served().url}/leasehold.v1.WorkspaceService/Watch`,
    ];
    expect(await mustRun(buf, ["curl", ...flags, ...args])).toContain("EVENT_KIND_HOST_JOINED");
  });
});

test("F6 buf curl lists services and methods, by either version of reflection, over TCP and a unix socket", async () => {
  const list = (flags: readonly string[]) =>
    mustRun(buf, ["curl", "--http2-prior-knowledge", "--protocol=grpc", ...flags]);
  for (const reflection of ["grpc-v1", "grpc-v1alpha"]) {
    const services = await list([`--reflect-protocol=${reflection}`, "--list-services", served().url]);
    expect(services).toContain(
      "leasehold.v1.AdminService\nleasehold.v1.SessionService\nleasehold.v1.WorkspaceService\n",
    );
  }
  const socket = [`--unix-socket=${served().socketPath}`, "--list-methods", "http://localhost"];
  expect(await list(socket)).toContain("leasehold.v1.WorkspaceService/Heartbeat\n");
});
