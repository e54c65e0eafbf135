/** Requests within the documented bounds can be answered, and others are refused by field. */
import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { ListChangesRequestSchema, ListSessionsRequestSchema } from "../../gen/leasehold/v1/session_service_pb.js";
import { ReclaimRequestSchema } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { Failure } from "../../src/domain/failure.js";
import { checkRequest } from "../../src/rpc/limits/checks.js";
import { encodePageToken } from "../../src/rpc/limits/page-token.js";

/** What is wrong, as `field description`. */
function faults<D extends DescMessage>(desc: D, init: MessageInitShape<D>): string[] {
  try {
    checkRequest(desc, create(desc, init));
    return [];
  } catch (error) {
    return (error as Failure).fields.map(({ field, description }) => `${field} ${description}`);
  }
}

const days = (count: number) => ({ seconds: BigInt(count) * 86_400n, nanos: 0 });

test("F1 ages are at most 3,650 days, which a database's clock can be set back by", () => {
  expect(faults(ReclaimRequestSchema, { olderThan: days(3_650) })).toEqual([]);
  expect(faults(ReclaimRequestSchema, { olderThan: days(3_651) })).toEqual(["older_than is above 3,650 days"]);
  expect(faults(ListSessionsRequestSchema, { inactiveFor: days(3_000_000) })).toEqual([
    "inactive_for is above 3,650 days",
  ]);
  expect(faults(ListSessionsRequestSchema, { inactiveFor: days(4_000_000) })).toEqual([
    "inactive_for is no valid duration",
  ]);
});

test("F1 a page token of changes that begins at no sequence is refused", () => {
  const request = create(ListChangesRequestSchema, { sessionId: "n1" });
  const token = (after: string) => encodePageToken(ListChangesRequestSchema, request, { after, revision: 0n });
  expect(faults(ListChangesRequestSchema, { sessionId: "n1", pageToken: token("17") })).toEqual([]);
  for (const after of ["w17", "1.5", "-1", "9".repeat(30)]) {
    expect(faults(ListChangesRequestSchema, { sessionId: "n1", pageToken: token(after) })).toEqual([
      "page_token is not of a list with these filters",
    ]);
  }
});
