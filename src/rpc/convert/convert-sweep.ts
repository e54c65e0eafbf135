/** Owns the conversion of what a sweep reports. */
import { create } from "@bufbuild/protobuf";
import { type SweepResponse, SweepResponseSchema } from "../../../gen/leasehold/v1/admin_service_pb.js";
import {
  type SweepEntry as EntryMessage,
  SweepEntryKind,
  SweepEntrySchema,
  type Sweep as SweepMessage,
  SweepOutcome,
  SweepSchema,
} from "../../../gen/leasehold/v1/sweep_pb.js";
import type { SweepEntry, SweepReport } from "../../domain/sweep.js";
import { fromDate } from "./convert-time.js";

export function fromSwept(report: SweepReport, joined: boolean): SweepResponse {
  const entries = report.entries.map(fromEntry);
  return create(SweepResponseSchema, { sweep: fromReport(report), entries, entriesLeftOut: report.leftOut, joined });
}

export function fromReport({ dryRun, startTime, endTime, counts, summary }: SweepReport): SweepMessage {
  const { sessions, worktrees, cacheClones, active, unknown, errors } = counts;
  return create(SweepSchema, {
    startTime: fromDate(startTime),
    endTime: fromDate(endTime),
    dryRun,
    sessions,
    worktrees,
    cacheClones,
    stillActive: active,
    unknown,
    errors,
    summary,
  });
}

function fromEntry(entry: SweepEntry): EntryMessage {
  return create(SweepEntrySchema, {
    ...entry,
    kind: SweepEntryKind[entry.kind],
    outcome: SweepOutcome[entry.outcome],
  });
}
