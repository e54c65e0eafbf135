/** Owns: a server with a repository, and runners of the example agents on it, for the tests of a file. */
import { join } from "node:path";
import { afterEach, beforeAll } from "vitest";
import type { Change } from "../../gen/leasehold/v1/session_pb.js";
import { AgentRunner } from "./agent-runner.js";
import { type ServerProcess, useServers } from "./server.js";
import { Upstream } from "./upstream.js";

export interface AgentSite {
  readonly server: ServerProcess;
  /** Two agents, ada and bob, in the workspace of a binding. Killed after the test. */
  run(binding: string): AgentRunner;
  changesOf(sessionId: string): Promise<Change[]>;
}

/** At the top level of a file. */
export function useAgents(): () => AgentSite {
  const servers = useServers();
  const runners: AgentRunner[] = [];
  let site: AgentSite | undefined;

  beforeAll(async () => {
    const server = await servers.start();
    const root = await servers.directory();
    const { url } = await Upstream.make(root, "demo");
    await server.client.admin.registerRepository({ repository: { name: "demo", url } });
    const run = (binding: string): AgentRunner => {
      const where = ["--address", server.address, "--repository", "demo", "--binding", binding];
      const args = [...where, "--ttl", "5000", "--grace", "30000", "--agent", "ada", "--agent", "bob"];
      const runner = new AgentRunner(args, { EXAMPLE_AGENT_STATE: join(root, "conversations") });
      runners.push(runner);
      return runner;
    };
    site = { server, run, changesOf: (sessionId) => changesOf(server, sessionId) };
  });
  afterEach(async () => {
    for (const runner of runners.splice(0)) if (runner.running) await runner.kill9();
  });
  return () => {
    if (!site) throw new Error("the server has not been started");
    return site;
  };
}

async function changesOf({ client }: ServerProcess, sessionId: string): Promise<Change[]> {
  const changes: Change[] = [];
  for (;;) {
    const afterSequence = changes.at(-1)?.sequence ?? 0n;
    const page = await client.sessions.listChanges({ sessionId, afterSequence, pageSize: 1_000 });
    if (page.changes.length === 0) return changes;
    changes.push(...page.changes);
  }
}
