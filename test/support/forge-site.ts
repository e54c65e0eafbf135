/** Owns: a Gitea on loopback whose issues a test opens and closes, and a server that asks it. */
import { createHmac, randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SessionState } from "../../gen/leasehold/v1/session_pb.js";
import { Disposition } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { ApiServer, bodies, status } from "../forge/api-server.js";
import type { Client, Held } from "./rpc-client.js";
import type { ServerOptions, ServerProcess, Servers } from "./server.js";

export interface ForgeSite {
  readonly api: ApiServer;
  /** The page of an issue. */
  issue(number: number): string;
  /** What is said of an issue from now on; a number is the status of an error. */
  say(number: number, state: "open" | "closed" | number): void;
  /** How often an issue was asked for. */
  asked(number: number): number;
  /** A parked session about an issue, with unsaved work; its acquisition and id. */
  session(server: ServerProcess, repository: string, number: number, revision?: string): Promise<Held & { id: string }>;
  /** A message as Gitea sends it; answers the status. */
  tell(server: ServerProcess, event: string, message: object): Promise<number>;
  /** For servers that know the forge. */
  options(sweeper: string, more?: ServerOptions): ServerOptions;
}

export async function useForgeSite(servers: Servers): Promise<ForgeSite> {
  const api = await ApiServer.start();
  servers.atEnd(() => api.stop());
  const root = await servers.directory();
  const path = (number: number) => `/api/v1/repos/owner/name/issues/${number}`;
  let configs = 0;
  return {
    api,
    issue: (number) => `${api.url}/owner/name/issues/${number}`,
    say: (number, state) => {
      const answer =
        typeof state === "number" ? status(state, { message: "no" }) : status(200, bodies.gitea.issue(state));
      api.answers.set(path(number), answer);
    },
    asked: (number) => api.asked.filter((one) => one.path === path(number)).length,
    async session(server, repository, number, revision = "") {
      const { client } = server;
      const subject = { url: `${api.url}/owner/name/issues/${number}` };
      const held = await client.acquire({ repository, binding: `issue-${number}`, subject, revision });
      const { leaseId, leaseToken } = held;
      const { session } = await client.sessions.openSession({ leaseId, leaseToken });
      await writeFile(join(held.path, "work.txt"), `of ${number}\n`);
      await client.release(held, { disposition: Disposition.PARK });
      return { ...held, id: session?.sessionId ?? "" };
    },
    async tell(server, event, message) {
      const body = JSON.stringify({ ...message, repository: { full_name: "owner/name" } });
      const signature = createHmac("sha256", "hush").update(body).digest("hex");
      const headers = { "x-gitea-event": event, "x-gitea-delivery": randomUUID(), "x-gitea-signature": signature };
      const answer = await fetch(`${server.address}/webhooks/ours`, {
        ...{ method: "POST", body, headers: { ...headers, "content-type": "application/json" } },
      });
      return answer.status;
    },
    options: (sweeper, more = {}) => {
      const file = join(root, `leasehold-${++configs}.yaml`);
      const forge = `{ name: ours, kind: gitea, url: '${api.url}', webhook_secret_file: secret }`;
      writeFileSync(join(root, "secret"), "hush\n");
      writeFileSync(file, `forges: [${forge}]\nsweeper: ${sweeper}\n`);
      return { ...more, flags: ["--config", file, ...(more.flags ?? [])] };
    },
  };
}

/** The session, once it is closed. */
export async function ifClosed(client: Client, sessionId: string) {
  const { session } = await client.sessions.getSession({ sessionId });
  return session?.state === SessionState.CLOSED && session;
}
