/** docs/errors.md, the proto's enum and the table of codes say the same. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { ErrorReasonSchema } from "../../gen/leasehold/v1/error_reason_pb.js";
import { failureCodes } from "../../src/domain/failure.js";

const page = readFileSync(new URL("../../docs/errors.md", import.meta.url), "utf8");
const proto = readFileSync(new URL("../../proto/leasehold/v1/error_reason.proto", import.meta.url), "utf8");

/** Cells of every row of the table. */
const rows = page
  .split("\n")
  .filter((line) => /^\| [A-Z_]+ \|/.test(line))
  .map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );

describe("B3 the reasons", () => {
  test("of the page are those of the code, with the same codes and in the same order", () => {
    expect(rows.map(([reason, code]) => [reason, code])).toEqual(Object.entries(failureCodes));
  });

  test("of the proto are those of the code, in the same order", () => {
    const names = ErrorReasonSchema.values.map(({ name }) => name.replace("ERROR_REASON_", ""));
    expect(names).toEqual(["UNSPECIFIED", ...Object.keys(failureCodes)]);
  });

  test("have the same code in the proto's comments", () => {
    const documented = [...proto.matchAll(/\/\/ ([A-Z_]+): [^\n]*\n(?: *\/\/[^\n]*\n)* *ERROR_REASON_([A-Z_]+) =/g)];
    const codes = Object.fromEntries(documented.map(([, code, reason]) => [reason, code]));
    expect(codes).toEqual(failureCodes);
  });

  test("each have a meaning and something to do", () => {
    for (const [reason, , meaning, , remedy] of rows) {
      expect(
        [meaning, remedy].every((text) => (text?.length ?? 0) > 10),
        reason,
      ).toBe(true);
    }
  });
});
