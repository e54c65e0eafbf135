/** `--timeout` is a duration of any length. */
import { expect, test } from "vitest";
import { leasehold } from "../support/command-line.js";
import { serveScript } from "../support/scripted-server.js";

test.each(["28h", "25d", "3650d"])("--timeout %s waits for the answer, over both protocols", async (timeout) => {
  await using server = await serveScript({ listActive: () => ({}) });
  for (const protocol of ["grpc", "connect"]) {
    const result = await leasehold(server.address, ["list-active", "--timeout", timeout, "--protocol", protocol]);
    expect(result, result.stderr).toMatchObject({ status: 0 });
  }
});
