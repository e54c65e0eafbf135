/** Owns the conversion of times and durations between proto and domain. Durations are in milliseconds here. */
import { create } from "@bufbuild/protobuf";
import { type Duration, DurationSchema, type Timestamp, timestampFromDate } from "@bufbuild/protobuf/wkt";

/** Whole milliseconds, rounded up so that nobody gets less than was asked for. */
export function toMs(duration: Duration): number {
  return Number(duration.seconds) * 1000 + Math.ceil(duration.nanos / 1_000_000);
}

export function optionalMs(duration: Duration | undefined): number | undefined {
  return duration === undefined ? undefined : toMs(duration);
}

/** Down to the microsecond; never negative. */
export function fromMs(ms: number): Duration {
  const micros = Math.max(0, Math.floor(ms * 1000));
  const seconds = Math.floor(micros / 1_000_000);
  return create(DurationSchema, { seconds: BigInt(seconds), nanos: (micros - seconds * 1_000_000) * 1000 });
}

export function fromDate(date: Date): Timestamp {
  return timestampFromDate(date);
}
