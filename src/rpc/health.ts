/**
 * Owns grpc.health.v1: Check, Watch and List of the server as a whole (the empty name) and of each service.
 *
 * Invariants:
 * 1. All names share one state: serving if the server is ready, and never again once it drains.
 * 2. A Watch ends with DRAINING when the server drains, after it told NOT_SERVING.
 */
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { type Health, HealthCheckResponse_ServingStatus as Status } from "../../gen/health/v1/health_pb.js";
import { Failure } from "../domain/failure.js";
import { errorDomain } from "./errors.js";
import { pause } from "./pause.js";
import type { ReadinessGauge } from "./readiness.js";

/** How often a Watch looks, in milliseconds. */
const watchIntervalMs = 1000;

/** `draining` aborts when the server begins to drain. */
export function healthService(
  readiness: ReadinessGauge,
  serviceNames: readonly string[],
  draining: AbortSignal,
): ServiceImpl<typeof Health> {
  const names = new Set(["", ...serviceNames]);
  const statusOf = async (name: string) => {
    if (!names.has(name)) return Status.SERVICE_UNKNOWN;
    return (await readiness.read()).ok ? Status.SERVING : Status.NOT_SERVING;
  };
  return {
    check: async ({ service }) => {
      const status = await statusOf(service);
      if (status === Status.SERVICE_UNKNOWN) throw unknownService();
      return { status };
    },
    list: async () => {
      const entries = [...names].map(async (name) => [name, { status: await statusOf(name) }] as const);
      return { statuses: Object.fromEntries(await Promise.all(entries)) };
    },
    async *watch({ service }, { signal }) {
      let last: Status | undefined;
      while (!signal.aborted) {
        const status = await statusOf(service);
        if (status !== last) yield { status };
        last = status;
        if (draining.aborted) throw new Failure("DRAINING", "the server is shutting down", { retryAfterMs: 1000 });
        await pause(watchIntervalMs, signal, draining);
      }
    },
  };
}

/** NOT_FOUND, as the health protocol wants it, which no reason of ours has. */
function unknownService(): ConnectError {
  const info = { desc: ErrorInfoSchema, value: { reason: "METHOD_UNKNOWN", domain: errorDomain } };
  return new ConnectError("no such service", Code.NotFound, undefined, [info]);
}
