/** Entry of a process that serves from memory and answers over IPC what it holds. Nothing here catches anything. */
import { createLog } from "../../src/log.js";
import { startRpcServer } from "../../src/rpc/server.js";
import { InMemoryServices } from "./in-memory-services.js";

const services = new InMemoryServices();
const server = await startRpcServer({
  listen: [
    { kind: "tcp", host: "127.0.0.1", port: 0 },
    { kind: "unix", path: process.argv[2] as string },
  ],
  services,
  log: createLog({ level: "info", format: "json" }),
  readiness: async () => ({ ok: true, detail: "ready" }),
});
process.on("message", () => {
  process.send?.({ watching: services.watching, ...server.running, rssMb: process.memoryUsage().rss / 2 ** 20 });
});
process.send?.({ addresses: server.addresses });
