/**
 * Owns the check of requests against `field-limits.ts`, before anything else looks at them.
 *
 * Invariants:
 * 1. All wrong fields are told at once, in one FIELD_INVALID; of very many, the first ones.
 * 2. A request that names nothing to act on is SELECTOR_REQUIRED, and only if no field of it is wrong.
 */
import type { DescMessage, Message } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";
import {
  type ReclaimRequest,
  ReclaimRequestSchema,
  type ResetRequest,
  ResetRequestSchema,
} from "../../../gen/leasehold/v1/workspace_service_pb.js";
import { Failure, type FieldFault } from "../../domain/failure.js";
import { requestLimits } from "./field-limits.js";
import type { Rule } from "./field-rules.js";

/**
 * Most faults that one answer tells, and their most bytes: gRPC clients refuse trailers of more than 8 KiB, and what is
 * told is there once in the message and once, in base64, in the details.
 */
const maxFaults = 30;
const maxFaultBytes = 4096;
const maxMessage = 500;

/** What a fault takes besides its texts. */
const faultOverhead = 10;

/** Throws FIELD_INVALID or SELECTOR_REQUIRED if the request is wrong. */
export function checkRequest(desc: DescMessage, message: Message): void {
  const faults = faultsOf(desc, message);
  if (faults.length > 0) {
    const told = faults.map(({ field, description }) => `${field} ${description}`).join("; ");
    throw new Failure("FIELD_INVALID", told.slice(0, maxMessage), { fields: firstOf(faults) });
  }
  const missing = missingSelector(desc, message);
  if (missing) throw new Failure("SELECTOR_REQUIRED", missing);
}

function firstOf(faults: readonly FieldFault[]): readonly FieldFault[] {
  let bytes = 0;
  const fits = ({ field, description }: FieldFault) => {
    bytes += Buffer.byteLength(field) + Buffer.byteLength(description) + faultOverhead;
    return bytes <= maxFaultBytes;
  };
  const tooMany = faults.slice(0, maxFaults).findIndex((fault) => !fits(fault));
  return faults.slice(0, tooMany === -1 ? maxFaults : tooMany);
}

function faultsOf(desc: DescMessage, message: Message): FieldFault[] {
  const limits = requestLimits.get(desc.typeName);
  const faults: FieldFault[] = [];
  if (!limits) return faults;
  const report = (field: string, description: string) => {
    faults.push({ field, description });
  };
  const rules = limits.fields as Readonly<Record<string, Rule<unknown>>>;
  for (const { localName, name } of desc.fields) {
    rules[localName]?.((message as unknown as Record<string, unknown>)[localName], name, report);
  }
  limits.together?.(message, report);
  return faults;
}

function missingSelector(desc: DescMessage, message: Message): string | undefined {
  switch (desc.typeName) {
    case ReclaimRequestSchema.typeName: {
      const { repository, host, olderThan, leaseIds, workspaceIds } = message as ReclaimRequest;
      const isNamed = repository || host || olderThan || leaseIds.length > 0 || workspaceIds.length > 0;
      return isNamed ? undefined : "one of repository, host, older_than, lease_ids and workspace_ids is required";
    }
    case ResetRequestSchema.typeName: {
      const { repository, workspaceId } = message as ResetRequest;
      return repository || workspaceId ? undefined : "one of workspace_id and repository is required";
    }
    default:
      return undefined;
  }
}

export const checks: Interceptor = (next) => (request) => {
  const { method } = request;
  if (!request.stream) {
    checkRequest(method.input, request.message);
    return next(request);
  }
  return next({ ...request, message: checkedMessages(method.input, request.message) });
};

async function* checkedMessages<M extends Message>(desc: DescMessage, messages: AsyncIterable<M>): AsyncIterable<M> {
  for await (const message of messages) {
    checkRequest(desc, message);
    yield message;
  }
}
