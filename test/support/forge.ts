/**
 * Owns a forge for tests of a whole server: repositories over HTTP, the configuration that names it, and its messages.
 */
import { writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import type { ForgeKind } from "../../src/domain/subject.js";
import type { Sql } from "../../src/postgres/client.js";
import { githubLike, message, type Sent } from "../forge/payloads.js";
import { GitHttpServer } from "./git-http-server.js";
import type { ServerProcess } from "./server.js";
import { until } from "./until.js";
import { Upstream } from "./upstream.js";

export const secret = "It's a Secret to Everybody";

export interface Answered {
  readonly status: number;
  readonly text: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

export class TestForge {
  readonly git: GitHttpServer;
  readonly config: string;
  readonly #root: string;

  private constructor(git: GitHttpServer, root: string, config: string) {
    this.git = git;
    this.#root = root;
    this.config = config;
  }

  /** `root` gets the repositories and `leasehold.yaml`, which has this forge as `ours`, one of each other kind, and `mute`. */
  static async start(root: string): Promise<TestForge> {
    const git = await GitHttpServer.start({ root });
    const config = join(root, "leasehold.yaml");
    writeFileSync(join(root, "secret"), `${secret}\n`);
    const entry = (name: string, kind: string, url: string, more = ", webhook_secret_file: secret") =>
      `  - { name: ${name}, kind: ${kind}, url: "${url}"${more} }\n`;
    const url = git.url("").replace(/\/$/, "");
    const others = ["gitea", "github", "gitlab"].map((kind) => entry(kind, kind, `https://${kind}.example.com`));
    const mute = entry("mute", "gitea", "https://mute.example.com", "");
    writeFileSync(config, `forges:\n${entry("ours", "forgejo", url)}${others.join("")}${mute}`);
    return new TestForge(git, root, config);
  }

  /** Where its pages are. */
  get url(): string {
    return this.git.url("").replace(/\/$/, "");
  }

  /** A repository of the project `owner/<name>`, served over HTTP. */
  async repository(
    name: string,
  ): Promise<{ readonly upstream: Upstream; readonly url: string; readonly project: string }> {
    const upstream = await Upstream.make(join(this.#root, "owner"), name);
    return { upstream, project: `owner/${name}`, url: this.git.url(`owner/${name}.git`) };
  }

  /** The same, registered, and with a mirror on each of the servers' hosts. */
  async mirrored(name: string, servers: readonly ServerProcess[]) {
    const { upstream, url, project } = await this.repository(name);
    await servers[0]?.client.admin.registerRepository({ repository: { name, url } });
    for (const { client, host } of servers)
      await client.releaseAndClean(await client.acquire({ repository: name, host }));
    return { upstream, project, name };
  }

  /** Fetches that it was asked for. */
  fetches(project: string): number {
    return this.git.requests.filter((line) => line.includes(`/${project}.git/info/refs`)).length;
  }

  stop(): Promise<void> {
    return this.git.stop();
  }
}

/** Sends a message as it is. `body` may be something that never ends. */
export function post(
  server: ServerProcess,
  forge: string,
  { headers, body }: Sent,
  method = "POST",
): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const sending = request(
      { host: "127.0.0.1", port: server.port, method, path: `/webhooks/${forge}`, headers, agent: false },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => (text += chunk));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text, headers: response.headers }));
        response.on("error", reject);
      },
    );
    sending.on("error", reject);
    sending.end(body);
  });
}

/** Of the forge `ours`. */
export const closing = (project: string, number: number, delivery?: string): Sent =>
  message("forgejo", secret, githubLike.issue(project, "closed", number), delivery);

/** Of the forge of that kind, for a message that all but GitLab send in one shape. */
export const signed = (kind: ForgeKind, named: readonly [string, object], delivery?: string): Sent =>
  message(kind, secret, named, delivery);

/** How often the hosts' mirrors of a repository have changed. */
export async function changes({ client }: ServerProcess, repository: string): Promise<number> {
  return (await client.events(1n, { repository, kinds: [EventKind.MIRROR_CHANGED] })).length;
}

/** Resolves when nothing that was stored is left to be done. Answers how many deliveries there are. */
export function followed(sql: Sql): Promise<number> {
  const limitMs = 50_000;
  return until(
    "all deliveries are followed",
    async () => {
      const [row] = await sql<{ all: number; left: number }[]>`
      select count(*)::int as all, count(*) filter (where done_time is null)::int as left from leasehold.forge_deliveries`;
      return row?.left === 0 && row.all;
    },
    limitMs,
  );
}
