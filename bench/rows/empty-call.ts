/** Owns the row `empty-call`: unary calls that do nothing, against a bare `@grpc/grpc-js` server, by the same client. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Health } from "../../gen/health/v1/health_pb.js";
import { rateOf } from "../harness/closed-loop.js";
import type { Row } from "../harness/row.js";
import { RpcClient } from "../harness/rpc-client.js";
import { summarise } from "../harness/samples.js";

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
    const rates = { ours: [] as number[], theirs: [] as number[] };
    const { windows, windowMs } = bench.sizes;
    try {
      const checkOurs = () => ours.call(Health.method.check, {});
      const checkTheirs = () => theirs.call(Health.method.check, {});
      await rateOf(callers, windowMs / 2, checkOurs);
      await rateOf(callers, windowMs / 2, checkTheirs);
      for (let window = 0; window < windows; window++) {
        rates.ours.push(await rateOf(callers, windowMs, checkOurs));
        rates.theirs.push(await rateOf(callers, windowMs, checkTheirs));
      }
    } finally {
      ours.close();
      theirs.close();
      peer.stdin.end();
      await gone;
    }
    return [
      {
        what: `Health/Check, ${callers} callers`,
        unit: "calls/s",
        ours: summarise(rates.ours),
        peer: { name: "bare @grpc/grpc-js", summary: summarise(rates.theirs) },
        target: { of: "ratio", limit: 0.6, is: "at least" },
      },
    ];
  },
};
