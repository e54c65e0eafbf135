/** Owns: the real server for clients that are not ours, on TCP and on a unix socket, with an upstream repository. */
import { join } from "node:path";
import { beforeAll } from "vitest";
import { type Servers, useServers } from "../support/server.js";
import { Upstream } from "../support/upstream.js";

export interface Served {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string;
  /** `127.0.0.1:PORT`, as gRPC clients want it. */
  readonly target: string;
  readonly socketPath: string;
  /** A directory of the test's own. */
  readonly directory: string;
  /** Absolute path of a repository whose README.md is `# demo`. */
  readonly upstream: string;
  /** Another one, by name. */
  makeUpstream(name: string): Promise<string>;
  /** Starts another server on the same database for a while, so that its host stays behind. */
  leaveHost(name: string): Promise<void>;
}

/** For the whole file: call it at the top level. */
export function useServed(): () => Served {
  const servers = useServers();
  let served: Served | undefined;
  beforeAll(async () => {
    served = await serve(servers);
  });
  return () => {
    if (served === undefined) throw new Error("the server has not been started");
    return served;
  };
}

async function serve(servers: Servers): Promise<Served> {
  const [directory, databaseUrl] = await Promise.all([servers.directory(), servers.database()]);
  const socketPath = join(directory, "s.sock");
  const [upstream, server] = await Promise.all([
    Upstream.make(directory, "demo"),
    servers.start({ databaseUrl, flags: ["--listen", "127.0.0.1:0", "--listen", `unix:${socketPath}`] }),
  ]);
  return {
    url: server.address,
    target: `127.0.0.1:${server.port}`,
    socketPath,
    directory,
    upstream: upstream.url,
    makeUpstream: async (name) => (await Upstream.make(directory, name)).url,
    leaveHost: async (host) => {
      const other = await servers.start({ databaseUrl, host });
      await other.stop();
    },
  };
}
