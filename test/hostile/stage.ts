/**
 * Owns: the stage on which mischief is done. One real server on its embedded Postgres, whose user's own git
 * configuration and environment are hostile as well; repositories to work in, canaries around them, and a program that
 * tells when anybody but a holder runs it.
 *
 * 1. The judge is plain git and a walk of the file system (`portrait.ts`): nothing of the product judges.
 * 2. Each lane is a repository with one workspace, so that the next lease is of the workspace that was tampered with.
 */
import { execFile } from "node:child_process";
import { appendFile, chmod, cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Workspace, WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import type { Sql } from "../../src/postgres/client.js";
import { type Client, type Held, readRefusal } from "../support/rpc-client.js";
import { embeddedUrl, type ServerOptions, type ServerProcess, type Servers } from "../support/server.js";
import { until } from "../support/until.js";
import { type Found, type Portrait, plainEnvironment, portrait, show, walk } from "./portrait.js";
import { hostileEnvironment, hostileHome, seed } from "./scenery.js";

const run = promisify(execFile);

/** Leases and comparisons of the whole file, for the soak's counts. */
export const counts = { leases: 0, comparisons: 0, quarantines: 0 };

/** What takes a second on a quiet machine. */
const settleLimitMs = 120_000;

export class Lane {
  readonly name: string;
  readonly url: string;
  /** A fresh clone by plain git. */
  readonly fresh: Portrait;
  held: Held | undefined;

  constructor(name: string, url: string, fresh: Portrait) {
    this.name = name;
    this.url = url;
    this.fresh = fresh;
  }
}

export class Stage {
  readonly root: string;
  readonly server: ServerProcess;
  readonly sql: Sql;
  /** What must stay as it is. */
  readonly canaries: string;
  /** The server's HOME. */
  readonly home: string;
  /** Where the holder may do as it likes. */
  readonly scratch: string;
  /** A program that notes in `ran` when anybody but a holder runs it. */
  readonly program: string;
  readonly #free: Lane[] = [];
  readonly #lanes: Lane[] = [];
  readonly #waiting: ((lane: Lane) => void)[] = [];
  #before: readonly string[] = [];
  #aroundBefore: readonly string[] = [];
  #mirrors: readonly string[] = [];
  #sibling: Held | undefined;
  #siblingBefore: readonly string[] = [];

  private constructor(root: string, server: ServerProcess, sql: Sql) {
    this.root = root;
    this.server = server;
    this.sql = sql;
    this.canaries = join(root, "canaries");
    this.home = join(root, "home");
    this.scratch = join(root, "scratch");
    this.program = join(root, "program");
  }

  /** `more`: of the server's environment and options. */
  static async open(servers: Servers, lanes: number, more: ServerOptions & { readonly root?: string } = {}) {
    const root = more.root ?? (await servers.directory());
    const home = join(root, "home");
    const program = join(root, "program");
    await hostileHome(home, program, join(root, "ran"));
    const env = { ...hostileEnvironment(home, program), ...more.env };
    const server = await servers.start({ databaseUrl: undefined, ...more, env });
    const url = more.databaseUrl ?? (await embeddedUrl(server.dataDir));
    const stage = new Stage(root, server, servers.sql(url));
    await stage.#canaries();
    await run("bash", ["--norc", "-eu", "-c", seed], {
      cwd: root,
      env: { ...holderEnvironment(stage), SEED: join(root, "seed") },
    });
    for (let number = 0; number <= lanes; number++) await stage.#lane(`lane-${number}`);
    const sibling = stage.#free.pop() as Lane;
    stage.#sibling = sibling.held as Held;
    await writeFile(join(stage.#sibling.path, "work.txt"), "a sibling's work\n");
    stage.#siblingBefore = await listing(stage.#sibling.path);
    stage.#before = await stage.#canaryFiles();
    stage.#aroundBefore = await stage.#surroundings();
    stage.#mirrors = await stage.#mirrorFiles();
    return stage;
  }

  get client(): Client {
    return this.server.client;
  }

  /** A lane of one's own for as long as `work` takes. */
  async withLane<T>(work: (lane: Lane) => Promise<T>): Promise<T> {
    const lane = this.#free.pop() ?? (await new Promise<Lane>((resolve) => this.#waiting.push(resolve)));
    try {
      lane.held ??= await this.acquire(lane);
      return await work(lane);
    } finally {
      const next = this.#waiting.shift();
      if (next) next(lane);
      else this.#free.push(lane);
    }
  }

  async acquire(lane: Lane): Promise<Held> {
    lane.held = await this.client.acquire({ repository: lane.name, ttlMs: 600_000, waitMs: 30_000 });
    counts.leases += 1;
    return lane.held;
  }

  /** Runs a script of a holder in its workspace. */
  async play(script: string, lane: Lane): Promise<void> {
    const { path } = lane.held as Held;
    const env = { ...holderEnvironment(this), WORK: path, URL: lane.url, LANE: join(this.scratch, lane.name) };
    await mkdir(env.LANE, { recursive: true });
    await run("bash", ["--norc", "-eu", "-c", `exec </dev/null; ${script}`], {
      cwd: path,
      env,
      maxBuffer: 1 << 26,
    }).catch((error: Error) => {
      throw new Error(`the mischief itself failed: ${error.message}`);
    });
  }

  async release(lane: Lane): Promise<void> {
    await this.client.release(lane.held as Held, { waitForClean: true });
    lane.held = undefined;
  }

  /** The server's own pulse ends the lease. */
  async expire(lane: Lane): Promise<void> {
    const { workspaceId, fence } = lane.held as Held;
    const ended = await this.sql`
      update leases set ttl = interval '1 ms', expire_time = clock_timestamp() - interval '1 second'
       where workspace_id = ${workspaceId.slice(1)} and fence = ${String(fence)} and end_time is null returning fence`;
    if (ended.length !== 1) throw new Error("there was no lease to expire");
    lane.held = undefined;
    await this.settled(workspaceId);
  }

  /** Waits until the workspace is clean, quarantined or gone; undefined where it is gone. */
  async settled(workspaceId: string): Promise<Workspace | undefined> {
    const ends = [WorkspaceState.IDLE, WorkspaceState.QUARANTINED];
    const { found } = await until(
      `${workspaceId} is settled`,
      async () => {
        const found = await this.client.get(workspaceId).catch((error: unknown) => {
          if (readRefusal(error).reason === "WORKSPACE_NOT_FOUND") return undefined;
          throw error;
        });
        const isGone = found === undefined || found.state === WorkspaceState.RETIRED;
        return isGone ? { found: undefined } : ends.includes(found.state) && { found };
      },
      settleLimitMs,
    );
    return found;
  }

  /** What a holder's program has run as somebody else, and which canaries were changed. */
  async damage(): Promise<string[]> {
    const ran = await readFile(join(this.root, "ran"), "utf8").catch(() => "");
    const lines = ran.split("\n").filter(Boolean);
    return [...lines.map((line) => `ran: ${line}`), ...changes("canary", this.#before, await this.#canaryFiles())];
  }

  /** What was changed beside the workspaces: in HOME, in the upstreams, in a sibling, in mirrors, in directories above. */
  async damageAround(): Promise<string[]> {
    const sibling = await listing((this.#sibling as Held).path);
    return [
      ...changes("around", this.#aroundBefore, await this.#surroundings()),
      ...changes("sibling", this.#siblingBefore, sibling),
      ...changes("mirror", this.#mirrors, await this.#mirrorFiles()),
    ];
  }

  /** Ends what the stage holds. */
  async close(): Promise<void> {
    for (const lane of this.#lanes) if (lane.held) await this.client.release(lane.held).catch(() => {});
  }

  async #lane(name: string): Promise<void> {
    const url = join(this.root, `${name}.git`);
    await cp(join(this.root, "seed.git"), url, { recursive: true });
    await this.client.admin.registerRepository({ repository: { name, url, maxWorkspaces: 1 } });
    const reference = join(this.root, "fresh", name);
    // not --local, so that exactly the objects that refs reach are there
    await run("git", ["clone", "--quiet", "--no-local", url, reference], { env: plainEnvironment });
    const lane = new Lane(name, url, await portrait(reference));
    await this.acquire(lane);
    await writeFile(join(this.server.dataDir, "workspaces", name, ".canary"), `beside ${name}\n`);
    this.#lanes.push(lane);
    this.#free.push(lane);
  }

  async #canaries(): Promise<void> {
    const files = {
      "dir/inner.txt": "inner\n",
      "dir/deep/d.txt": "deep\n",
      "file.txt": "canary\n",
      "src/main.txt": "main\n",
    };
    for (const [name, text] of Object.entries(files)) {
      const path = join(this.canaries, name);
      await mkdir(join(path, ".."), { recursive: true });
      await writeFile(path, text);
      await chmod(path, 0o644);
    }
    await run("git", ["init", "--quiet", "repository"], { cwd: this.canaries, env: plainEnvironment });
    await appendFile(join(this.canaries, "repository", "kept.txt"), "kept\n");
  }

  async #canaryFiles(): Promise<string[]> {
    return listing(this.canaries);
  }

  /** HOME, what lies beside the workspaces, and the upstreams. */
  async #surroundings(): Promise<string[]> {
    const lines: string[] = [];
    const roots = [this.home, ...this.#lanes.map(({ url }) => url)];
    for (const root of roots)
      for (const found of await walk(root, () => false)) lines.push(`${root} ${show({ ...found, links: 1 })}`);
    for (const { name } of this.#lanes) {
      const text = await readFile(join(this.server.dataDir, "workspaces", name, ".canary"), "utf8").catch(() => "gone");
      lines.push(`beside ${text}`);
    }
    return lines;
  }

  /** But for modes: one who may change files of the server's user may change those of a hard link. */
  async #mirrorFiles(): Promise<string[]> {
    // the record of objects, and the note of their times, are the server's own, and follow what happens to them
    const isOurs = (name: string) => name === ".trash" || /leasehold-(objects|touched)\.json$/.test(name);
    const found = await walk(join(this.server.dataDir, "mirrors"), isOurs);
    return found.map((one) => show({ ...one, mode: 0, links: 1 }));
  }
}

/** Hard links of a holder are no change. */
async function listing(root: string): Promise<string[]> {
  return (await walk(root, () => false)).map((found: Found) => show({ ...found, links: 1 }));
}

/** Lines that went and lines that came. */
export function changes(what: string, before: readonly string[], now: readonly string[]): string[] {
  const [old, fresh] = [new Set(before), new Set(now)];
  return [
    ...before.filter((line) => !fresh.has(line)).map((line) => `${what} - ${line}`),
    ...now.filter((line) => !old.has(line)).map((line) => `${what} + ${line}`),
  ];
}

/** Where a workspace differs from a fresh clone, aspect by aspect. */
export async function traces(path: string, fresh: Portrait): Promise<string[]> {
  const now = await portrait(path);
  counts.comparisons += 1;
  return Object.keys(fresh).flatMap((aspect) => changes(aspect, fresh[aspect] ?? [], now[aspect] ?? []));
}

function holderEnvironment(stage: Stage): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    HOME: stage.scratch,
    LC_ALL: "C.UTF-8",
    HOLDER: "1",
    PROGRAM: stage.program,
    OUT: stage.canaries,
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_TERMINAL_PROMPT: "0",
    GIT_AUTHOR_NAME: "Holder",
    GIT_AUTHOR_EMAIL: "holder@example.com",
    GIT_COMMITTER_NAME: "Holder",
    GIT_COMMITTER_EMAIL: "holder@example.com",
  };
}
