/** Who goes on in a workspace after its lease has ended never reaches the next holder. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { state } from "../git/support.js";
import { isRunning, useProcesses, whenGrown } from "../support/processes.js";
import type { Client, Held } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
const processes = useProcesses();
const isRoot = process.getuid?.() === 0;
let client: Client;
let root: string;
let repositories = 0;

/** `$1`: the workspace, `$2`: a file of the writer's own that grows while it goes on, `$3`: an empty directory. */
const writers: readonly (readonly [string, string])[] = [
  ["has a tracked file open", 'exec 3>>"$1/src/main.txt"; while :; do echo late >&3; echo x >> "$2"; sleep 0.01; done'],
  [
    "sits in a directory of it and makes files",
    'cd "$1/src"; i=0; while :; do i=$((i+1)); echo late > "late.$i"; echo late > main.txt; echo x >> "$2"; sleep 0.01; done',
  ],
  [
    "sits in its top directory and writes into .git",
    'cd "$1"; while :; do echo late > .git/config; echo late > .git/hooks/x; echo x >> "$2"; sleep 0.01; done',
  ],
  [
    "has a file of it mapped",
    `exec python3 -c '
import mmap, sys, time
with open(sys.argv[1] + "/src/main.txt", "r+b") as file: mapped = mmap.mmap(file.fileno(), 0)
while True:
    mapped[0:3] = b"odd" if mapped[0:3] != b"odd" else b"ODD"
    open(sys.argv[2], "a").write("x")
    time.sleep(0.01)' "$1" "$2"`,
  ],
  [
    "starts children that outlive each other",
    'cd "$1"; while :; do (sleep 0.02; echo late > "late.$$"; echo late >> src/main.txt; echo x >> "$2"; sleep 0.2) & sleep 0.02; done',
  ],
];

const inNamespace =
  'exec unshare --mount /bin/sh -c \'mount --bind "$1" "$3"; while :; do echo late > "$3/src/main.txt"; echo x >> "$2"; sleep 0.01; done\' sh "$@"';

beforeAll(async () => {
  root = await servers.directory();
  client = (await servers.start()).client;
});

interface Stage {
  readonly name: string;
  readonly held: Held;
  /** What `git clone` gives. */
  readonly fresh: ReturnType<typeof state>;
  readonly progress: string;
}

async function stage(settings: { killStragglers?: boolean; stablePath?: boolean } = {}): Promise<Stage> {
  const name = `repository-${++repositories}`;
  const upstream = await Upstream.make(root, name);
  await client.admin.registerRepository({
    repository: { name, url: upstream.url, maxWorkspaces: 1, minIdle: 0, ...settings },
  });
  const clone = join(root, `${name}.clone`);
  await git(root, "clone", "--quiet", upstream.url, clone);
  return {
    name,
    fresh: state(clone),
    held: await client.acquire({ repository: name }),
    progress: join(root, `${name}.progress`),
  };
}

function start(script: string, { name, held, progress }: Stage): number {
  const empty = join(root, `${name}.mount`);
  execFileSync("mkdir", [empty]);
  return processes.shell(script, [held.path, progress, empty]);
}

async function told({ name, held }: Stage): Promise<string[]> {
  const events = await client.events(1n, { repository: name });
  return events
    .filter(({ kind, leaseId }) => kind === EventKind.STRAGGLERS_FOUND && leaseId === held.leaseId)
    .map(({ detail }) => detail);
}

describe("the next lease of the only workspace, and of the one after it", () => {
  const all = isRoot ? [...writers, ["has it mounted elsewhere (as root)", inNamespace] as const] : writers;

  it.each(all)("G1 is a fresh clone, and stays one, while a process %s", async (_what, script) => {
    const scene = await stage();
    const pid = start(script, scene);
    await whenGrown(scene.progress);
    await client.releaseAndClean(scene.held);
    expect(await told(scene)).toEqual([expect.stringContaining(`(${pid}, `)]);
    for (let lease = 0; lease < 2; lease++) {
      const next = await client.acquire({ repository: scene.name });
      expect(next.path).not.toBe(scene.held.path);
      expect(state(next.path)).toEqual(scene.fresh);
      await whenGrown(scene.progress, 20);
      expect(state(next.path)).toEqual(scene.fresh);
      await client.releaseAndClean(next);
    }
    expect(isRunning(pid)).toBe(true);
  });

  it("G1 is a fresh clone, and stays one, while a process opens its files by path again and again", async () => {
    const scene = await stage();
    // where it changes a file while that is being salvaged, the directory is quarantined, and the next lease gets another
    const script = `while :; do for f in src/main.txt late .git/config .git/late; do
      { echo late >> "$1/$f"; } 2>/dev/null; done; echo x >> "$2"; done`;
    start(script, scene);
    await whenGrown(scene.progress);
    let held = scene.held;
    for (let lease = 0; lease < 3; lease++) {
      await client.releaseAndClean(held);
      held = await client.acquire({ repository: scene.name });
      expect(state(held.path)).toEqual(scene.fresh);
      await whenGrown(scene.progress, 50);
      expect(state(held.path)).toEqual(scene.fresh);
    }
    expect(held.path).not.toBe(scene.held.path);
  });
});

describe("kill_stragglers", () => {
  it.each(writers)("G1 ends a process that %s, and says so", async (_what, script) => {
    const scene = await stage({ killStragglers: true });
    const pid = start(script, scene);
    await whenGrown(scene.progress);
    await client.releaseAndClean(scene.held);
    const [detail] = await told(scene);
    expect(detail).toMatch(new RegExp(`\\(${pid}, \\w+, killed\\)`));
    expect(isRunning(pid)).toBe(false);
    const next = await client.acquire({ repository: scene.name });
    expect(state(next.path)).toEqual(scene.fresh);
    const size = (await readFile(scene.progress)).length;
    expect(state(next.path)).toEqual(scene.fresh);
    expect((await readFile(scene.progress)).length).toBe(size);
  });
});

describe("stable_path", () => {
  it("G1 keeps the path, and who sits in the directory or has a file open still reaches nothing of the next", async () => {
    const scene = await stage({ stablePath: true });
    start(writers[0]?.[1] ?? "", scene);
    processes.shell(writers[1]?.[1] ?? "", [scene.held.path, `${scene.progress}.2`]);
    await whenGrown(scene.progress);
    await whenGrown(`${scene.progress}.2`);
    await client.releaseAndClean(scene.held);
    const next = await client.acquire({ repository: scene.name });
    expect(next.path).toBe(scene.held.path);
    await whenGrown(scene.progress, 20);
    await whenGrown(`${scene.progress}.2`, 20);
    expect(state(next.path)).toEqual(scene.fresh);
  });

  it("G1 lets a process that only remembers the path reach the next holder: that is its price", async () => {
    const scene = await stage({ stablePath: true });
    start('while [ ! -e "$2.go" ]; do sleep 0.02; done; echo late > "$1/late"', scene);
    await client.releaseAndClean(scene.held);
    const next = await client.acquire({ repository: scene.name });
    expect(state(next.path)).toEqual(scene.fresh);
    await writeFile(`${scene.progress}.go`, "");
    await until("it has written", () => existsSync(join(next.path, "late")));
    // and no further: what it left is gone for the one after
    await client.releaseAndClean(next);
    expect(state((await client.acquire({ repository: scene.name })).path)).toEqual(scene.fresh);
  });
});
