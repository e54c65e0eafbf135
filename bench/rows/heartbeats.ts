/**
 * Owns the row `heartbeats`: how many heartbeats a second the server renews in its database, against how many
 * calls it answers that do nothing (`grpc.health.v1.Health/Check`), with as many callers.
 */
import { Health } from "../../gen/health/v1/health_pb.js";
import { WorkspaceService } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { rateOf } from "../harness/closed-loop.js";
import { Leaseholder } from "../harness/leaseholder.js";
import type { Row } from "../harness/row.js";
import { summarise } from "../harness/samples.js";

const callers = 128;

export const heartbeats: Row = {
  name: "heartbeats",
  title: `heartbeats of ${callers} leases`,
  async run(bench) {
    const upstream = await bench.upstream("tiny", 5);
    await bench.register("tiny", upstream.path, callers);
    const leaseholder = new Leaseholder(await bench.server(), 4);
    bench.onClose(() => leaseholder.close());
    const { client } = leaseholder;
    const held = await Promise.all(Array.from({ length: callers }, () => leaseholder.acquire("tiny")));
    const ours: number[] = [];
    const empty: number[] = [];
    const { windows, windowMs } = bench.sizes;
    const beat = (caller: number) => {
      const { leaseId, token } = held[caller] as (typeof held)[number];
      return client.call(WorkspaceService.method.heartbeat, { leaseId, leaseToken: token });
    };
    const check = () => client.call(Health.method.check, {});
    await rateOf(callers, windowMs / 2, beat);
    await rateOf(callers, windowMs / 2, check);
    for (let window = 0; window < windows; window++) {
      ours.push(await rateOf(callers, windowMs, beat));
      empty.push(await rateOf(callers, windowMs, check));
    }
    await Promise.all(held.map((lease) => leaseholder.release(lease)));
    return [
      {
        what: `heartbeats, ${callers} callers`,
        unit: "calls/s",
        ours: summarise(ours),
        peer: { name: "an empty call, same server", summary: summarise(empty) },
        target: { of: "ratio", limit: 0.7, is: "at least" },
      },
    ];
  },
};
