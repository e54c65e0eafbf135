/** Owns a server for one test: real sockets, services from memory, logs kept for inspection. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLog, type Log } from "../../src/log.js";
import { type RpcServer, type RpcServerOptions, startRpcServer } from "../../src/rpc/server.js";
import { InMemoryServices } from "./in-memory-services.js";

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [key: string]: unknown;
}

export class RunningServer {
  readonly services: InMemoryServices;
  readonly server: RpcServer;
  readonly lines: LogLine[];
  readonly directory: string;

  private constructor(server: RpcServer, services: InMemoryServices, lines: LogLine[], directory: string) {
    this.server = server;
    this.services = services;
    this.lines = lines;
    this.directory = directory;
  }

  static async start(
    options: Partial<RpcServerOptions> & { readonly unixSocket?: boolean } = {},
  ): Promise<RunningServer> {
    const directory = await mkdtemp(join(tmpdir(), "leasehold-rpc-"));
    const services = new InMemoryServices();
    const { log, lines } = recordedLog();
    const { unixSocket, ...rest } = options;
    const server = await startRpcServer({
      listen: [
        { kind: "tcp", host: "127.0.0.1", port: 0 },
        ...(unixSocket ? [{ kind: "unix" as const, path: join(directory, "s.sock") }] : []),
      ],
      services,
      log,
      readiness: async () => ({ ok: true, detail: "ready" }),
      ...rest,
    });
    return new RunningServer(server, services, lines, directory);
  }

  get url(): string {
    return this.server.addresses[0] as string;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  get socketPath(): string {
    return join(this.directory, "s.sock");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.services.drain();
    await this.server.drain(0);
    await rm(this.directory, { recursive: true, force: true });
  }
}

export function recordedLog(): { readonly log: Log; readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const log = createLog({
    level: "debug",
    format: "json",
    destination: { write: (line) => void lines.push(JSON.parse(line)) },
  });
  return { log, lines };
}
