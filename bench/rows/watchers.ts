/**
 * Owns the row `watchers`: many Watch streams while events happen: is every one delivered, how late, at what memory.
 *
 * Latency is counted from the event's own time (the database's clock, which is this machine's) until the watcher
 * has the message. The events are those of real leases, four for each.
 */
import { setTimeout as delay } from "node:timers/promises";
import { fromBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { WatchResponseSchema, WorkspaceService } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { Leaseholder } from "../harness/leaseholder.js";
import { memoryMb, processorMs } from "../harness/process-cost.js";
import type { Row } from "../harness/row.js";
import { RpcClient } from "../harness/rpc-client.js";
import { summarise } from "../harness/samples.js";
import { Watcher } from "../harness/watcher.js";

const eventsPerSecond = 50;
const eventsPerLease = 4;
const streamsPerConnection = 50;
const limitMs = 60_000;

export const watchers: Row = {
  name: "watchers",
  title: `Watch streams at ${eventsPerSecond} events a second`,
  async run(bench) {
    const { watchers: count, watchSeconds } = bench.sizes;
    const upstream = await bench.upstream("watched", 5);
    await bench.register("watched", upstream.path, 16);
    const server = await bench.server();
    const leaseholder = new Leaseholder(server);
    const client = new RpcClient(server.address, Math.ceil(count / streamsPerConnection));
    bench.onRowEnd(() => leaseholder.close());
    bench.onRowEnd(() => client.close());
    const times = new Map<number, number>();
    const stopTimes = client.stream(
      WorkspaceService.method.watch,
      {},
      (bytes) => {
        const { item, revision } = fromBinary(WatchResponseSchema, bytes);
        if (item.case === "event" && item.value.eventTime)
          times.set(Number(revision), timestampMs(item.value.eventTime));
      },
      () => {},
    );
    const before = await memoryMb(server.pid);
    const all = Array.from({ length: count }, () => new Watcher(client));
    await Promise.all(all.map((watcher) => watcher.ready));
    bench.say(`${count} streams are open; ${watchSeconds} s of events`);
    const spent = await processorMs(server.pid);
    const own = await processorMs(process.pid);
    const memory = [await memoryMb(server.pid)];
    const leases: Promise<void>[] = [];
    for (let i = 0; i < (watchSeconds * eventsPerSecond) / eventsPerLease; i++) {
      leases.push(leaseOnce(leaseholder));
      await delay((1_000 * eventsPerLease) / eventsPerSecond);
      if (i % 10 === 0) memory.push(await memoryMb(server.pid));
    }
    await Promise.all(leases);
    const newest = await seenByAll(all);
    memory.push(await memoryMb(server.pid));
    const latencies: number[] = [];
    let lost = 0;
    for (const watcher of all) {
      watcher.stop();
      lost += watcher.lost(newest);
      for (const { revision, at } of watcher.deliveries) {
        const time = times.get(revision);
        if (time !== undefined) latencies.push(at - time);
      }
    }
    stopTimes();
    const each = ((await processorMs(server.pid)) - spent) / latencies.length;
    const ownEach = ((await processorMs(process.pid)) - own) / latencies.length;
    bench.say(`${latencies.length} deliveries of ${times.size} events`);
    // where the two together come near what the machine has, the client is what is measured
    bench.say(`processor time of each: the server ${each.toFixed(3)} ms, these clients ${ownEach.toFixed(3)} ms`);
    return [
      {
        what: `events that any of ${count} watchers missed`,
        unit: "",
        ours: summarise([lost]),
        target: { of: "max", limit: 0, is: "at most" },
      },
      {
        what: `delivery to ${count} watchers`,
        unit: "ms",
        ours: summarise(latencies),
        target: { of: "p99", limit: 100, is: "at most" },
      },
      {
        what: "more memory of the server, at most",
        unit: "MB",
        ours: summarise([Math.max(...memory) - before]),
        target: { of: "max", limit: 200, is: "at most" },
      },
    ];
  },
};

async function leaseOnce(leaseholder: Leaseholder): Promise<void> {
  const held = await leaseholder.acquire("watched");
  await leaseholder.release(held);
}

/** Waits until all have the newest event of any, for as long as something still arrives. */
async function seenByAll(all: readonly Watcher[]): Promise<number> {
  const end = performance.now() + limitMs;
  await delay(500);
  for (;;) {
    const newest = Math.max(...all.map((watcher) => watcher.newest));
    if (all.every((watcher) => watcher.newest === newest) || performance.now() > end) return newest;
    await delay(50);
  }
}
