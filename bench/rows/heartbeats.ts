/**
 * Owns the row `heartbeats`: how many heartbeats a second the server renews in its database, against how many
 * calls it answers that do nothing (`grpc.health.v1.Health/Check`), with as many callers.
 */
import { Health } from "../../gen/health/v1/health_pb.js";
import { WorkspaceService } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { load } from "../harness/closed-loop.js";
import { fight } from "../harness/duel.js";
import { Leaseholder } from "../harness/leaseholder.js";
import type { Row } from "../harness/row.js";

const callers = 128;

export const heartbeats: Row = {
  name: "heartbeats",
  title: `heartbeats of ${callers} leases`,
  async run(bench) {
    const upstream = await bench.upstream("tiny", 5);
    await bench.register("tiny", upstream.path, callers);
    const server = await bench.server();
    const leaseholder = new Leaseholder(server, 4);
    bench.onRowEnd(() => leaseholder.close());
    const { client } = leaseholder;
    const held = await Promise.all(Array.from({ length: callers }, () => leaseholder.acquire("tiny")));
    const beat = (caller: number) => {
      const { leaseId, token } = held[caller] as (typeof held)[number];
      return client.call(WorkspaceService.method.heartbeat, { leaseId, leaseToken: token });
    };
    bench.onRowEnd(() => Promise.all(held.map((lease) => leaseholder.release(lease))));
    return fight(
      {
        what: `heartbeats, ${callers} callers`,
        peer: "an empty call, same server",
        ours: (ms) => load(server.pid, callers, ms, beat),
        theirs: (ms) => load(server.pid, callers, ms, () => client.call(Health.method.check, {})),
        target: { of: "ratio", limit: 0.7, is: "at least" },
      },
      bench.sizes,
    );
  },
};
