/** Owns: a Gitea on loopback whose issues a test opens and closes, and a server that asks it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ApiServer, bodies, status } from "../forge/api-server.js";
import type { ServerOptions, Servers } from "./server.js";

export interface ForgeSite {
  readonly api: ApiServer;
  /** The page of an issue. */
  issue(number: number): string;
  /** What is said of an issue from now on; a number is the status of an error. */
  say(number: number, state: "open" | "closed" | number): void;
  /** How often an issue was asked for. */
  asked(number: number): number;
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
    options: (sweeper, more = {}) => {
      const file = join(root, `leasehold-${++configs}.yaml`);
      const forge = `{ name: ours, kind: gitea, url: '${api.url}', webhook_secret_file: secret }`;
      writeFileSync(join(root, "secret"), "hush\n");
      writeFileSync(file, `forges: [${forge}]\nsweeper: ${sweeper}\n`);
      return { ...more, flags: ["--config", file, ...(more.flags ?? [])] };
    },
  };
}
