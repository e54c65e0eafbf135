/**
 * Owns what commands print.
 *
 * Invariants:
 * 1. Results go to standard output, everything else to standard error.
 * 2. JSON is the protobuf JSON of the answers, every field present, so that its names are as stable as the protocol.
 */
import { type DescMessage, type MessageShape, toJson } from "@bufbuild/protobuf";
import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import Table from "cli-table3";
import { type Command, Option } from "commander";
import { formatDuration } from "./duration.js";

export type OutputFormat = "table" | "json";

export interface OutputOptions {
  readonly output: OutputFormat;
}

export function withOutput(command: Command): Command {
  return command.addOption(
    new Option("-o, --output <format>", "how to print results").choices(["table", "json"]).default("table"),
  );
}

/** One line, or a whole text, on standard output. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** A word to the person, on standard error. */
export function notice(text: string): void {
  process.stderr.write(`leasehold: ${text}\n`);
}

/** A notice that is not repeated while it stays the same. */
export function changingNotice(): (text: string) => void {
  let last = "";
  return (text) => {
    if (text !== last) notice(text);
    last = text;
  };
}

export function printJson<D extends DescMessage>(schema: D, message: MessageShape<D>, indent = 2): void {
  print(JSON.stringify(toJson(schema, message, { alwaysEmitImplicit: true }), undefined, indent));
}

const noLines = {
  ...{ top: "", "top-mid": "", "top-left": "", "top-right": "" },
  ...{ bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "" },
  ...{ left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "", middle: "  " },
};

/** Rows under a head; `none` instead where there are no rows. */
export function printTable(head: readonly string[], rows: readonly (readonly string[])[], none: string): void {
  if (rows.length === 0) return notice(none);
  const style = { head: [], border: [], "padding-left": 0, "padding-right": 0 };
  const table = new Table({ head: [...head], chars: noLines, style });
  table.push(...rows.map((row) => row.map(printable)));
  print(trimmed(table.toString()));
}

/** One thing: a name and a value on each line. */
export function printFacts(facts: readonly (readonly [string, string])[]): void {
  const table = new Table({ chars: noLines, style: { head: [], border: [], "padding-left": 0, "padding-right": 0 } });
  table.push(...facts.filter(([, value]) => value !== "").map(([name, value]) => [name, printable(value)]));
  print(trimmed(table.toString()));
}

/** How long ago it was. */
export function ago(time: Timestamp | undefined): string {
  return time === undefined ? "" : formatDuration(Math.max(0, Date.now() - timestampMs(time)));
}

/** Enough of a commit id to know it by. */
export function shortCommit(commit: string): string {
  return commit.slice(0, 12);
}

export function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
}

/** Without the control characters with which a text could play tricks on a terminal. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd");
}

function trimmed(text: string): string {
  return text.replace(/ +$/gm, "");
}
