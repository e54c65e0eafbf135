/**
 * README.md's tour, as it is written, against the real server.
 *
 * 1. The blocks marked `sh tour` run in order in one shell, in a directory that has what a checkout has; the block
 *    `ts tour.mts` is saved there first. Only the server's address is another one, so that a server of yours is let be.
 * 2. The block marked `sh tour grpcurl` runs where grpcurl is or can be had.
 */
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { expect, test } from "vitest";
import { makeGrpcurl } from "./grpcurl.js";
import { useServed } from "./served.js";
import { prepareLimitMs, root, run, Unavailable } from "./toolchain.js";

const served = useServed();
const readme = readFileSync(join(root, "README.md"), "utf8");
/** A dozen Node.js processes and a compiler, on a machine that may have other work. */
const tourLimitMs = 240_000;

/** The content of every fenced block whose first line matches. */
function blocks(mark: RegExp): string[] {
  return [...readme.matchAll(/^```(.+)\n([\s\S]*?)^```$/gm)]
    .filter(([, info = ""]) => mark.test(info))
    .map(([, , content = ""]) => content);
}

test("the tour of the README does what the README says", { timeout: prepareLimitMs + tourLimitMs }, async () => {
  const grpcurl = await makeGrpcurl().catch((error: unknown) => {
    if (error instanceof Unavailable) return undefined;
    throw error;
  });
  const checkout = join(served().directory, "checkout");
  await mkdir(checkout);
  for (const name of ["package.json", "dist", "node_modules"]) symlinkSync(join(root, name), join(checkout, name));
  const [program = ""] = blocks(/^ts tour\.mts$/);
  writeFileSync(join(checkout, "tour.mts"), program);

  const tour = blocks(grpcurl === undefined ? /^sh tour$/ : /^sh tour( grpcurl)?$/);
  expect(tour.length).toBeGreaterThanOrEqual(6);
  const script = tour.join("\n").replaceAll("127.0.0.1:7420", served().target);
  const { code, stdout, stderr } = await run("bash", ["-euo", "pipefail", "-c", script], {
    cwd: checkout,
    env: {
      LEASEHOLD_ADDRESS: served().url,
      TMPDIR: served().directory,
      PATH: [...(grpcurl === undefined ? [] : [dirname(grpcurl)]), process.env.PATH].join(delimiter),
    },
    limitMs: tourLimitMs,
  });
  expect(stderr.split("\n").filter((line) => line !== "" && !line.startsWith("npm warn"))).toEqual([]);
  expect(code).toBe(0);

  const inOrder = [
    // run
    "/workspaces/demo/w",
    "nothing to commit, working tree clean",
    "First commit",
    "exit status 3",
    // by hand
    "(HEAD -> main, origin/main, origin/HEAD)",
    "LEASED",
    '"remaining":',
    '"state":"WORKSPACE_STATE_CLEANING"',
    '"reason":"LEASE_LOST"',
    "LEASE_ACQUIRED",
    ...(grpcurl === undefined ? [] : ["leasehold.v1.AdminService", "message AcquireRequest", "REPOSITORY_STATE_READY"]),
    // the command line, and the program
    "On branch fix",
    "READY",
    "REMOVED",
    "/workspaces/demo/w",
    "hello",
    // without installing again: the first round installs, the second finds it
    "installed",
    "MISSING",
    "READY",
    "node_modules",
  ];
  let from = 0;
  for (const words of inOrder) {
    const at = stdout.indexOf(words, from);
    expect(at, `${words} is missing after character ${from} of:\n${stdout}`).toBeGreaterThanOrEqual(0);
    from = at + words.length;
  }
});
