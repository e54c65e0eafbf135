/** Owns the row `empty-call`: unary calls that do nothing, against a bare `@grpc/grpc-js` server, by the same client. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Health } from "../../gen/health/v1/health_pb.js";
import { load } from "../harness/closed-loop.js";
import { fight } from "../harness/duel.js";
import type { Row } from "../harness/row.js";
import { RpcClient } from "../harness/rpc-client.js";

const callers = 64;
const peerEntry = fileURLToPath(new URL("../peers/grpc-js-server.js", import.meta.url));

export const emptyCall: Row = {
  name: "empty-call",
  title: "an empty unary gRPC call",
  async run(bench) {
    const server = await bench.server();
    const peer = spawn(process.execPath, [peerEntry], { stdio: ["pipe", "pipe", "inherit"] });
    const gone = once(peer, "exit");
    const [port] = await once(peer.stdout, "data");
    const ours = new RpcClient(server.address, 2);
    const theirs = new RpcClient(`127.0.0.1:${String(port).trim()}`, 2);
    try {
      return await fight(
        {
          what: `Health/Check, ${callers} callers`,
          peer: "bare @grpc/grpc-js",
          ours: (ms) => load(server.pid, callers, ms, () => ours.call(Health.method.check, {})),
          theirs: (ms) => load(peer.pid ?? 0, callers, ms, () => theirs.call(Health.method.check, {})),
          target: { of: "ratio", limit: 0.6, is: "at least" },
        },
        bench.sizes,
      );
    } finally {
      ours.close();
      theirs.close();
      peer.stdin.end();
      await gone;
    }
  },
};
