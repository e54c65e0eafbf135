/**
 * The benchmark: `npm run bench -- [rows] [--quick] [--output table|json|markdown]`.
 *
 * Exits with 0 when every row was measured, also where a target was missed; with 1 when one could not be; with 2 for a
 * command line that is wrong.
 */
import { parseArgs } from "node:util";
import { Bench } from "./harness/bench.js";
import { machine, type Result, toJson, toMarkdown, toTable } from "./harness/report.js";
import type { Row } from "./harness/row.js";
import { full, quick } from "./harness/sizes.js";
import { rows } from "./rows/rows.js";

const say = (text: string) => process.stderr.write(`${text}\n`);

async function main(): Promise<number> {
  const given = readOptions();
  if (given === undefined) return 2;
  const { values, positionals } = given;
  const tell = { table: toTable, markdown: toMarkdown, json: (r: readonly Result[]) => toJson(r, machine()) };
  const format = tell[values.output as keyof typeof tell];
  const unknown = positionals.filter((name) => !rows.some((row) => row.name === name));
  if (values.help || !format || unknown.length > 0) {
    if (unknown.length > 0) say(`no such row: ${unknown.join(", ")}`);
    tellUsage();
    return values.help ? 0 : 2;
  }
  const selected = positionals.length > 0 ? rows.filter((row) => positionals.includes(row.name)) : rows;
  const bench = await Bench.open(values.quick ? quick : full, say);
  const stop = (code: number) => void bench.close().finally(() => process.exit(code));
  process.once("SIGINT", () => stop(130));
  process.once("SIGTERM", () => stop(143));
  const results: Result[] = [];
  try {
    for (const row of selected) results.push(await measure(row, bench));
  } finally {
    await bench.close();
  }
  const { cores, processor, node } = machine();
  say(`\n${cores} cores (${processor}), Node ${node}, ${new Date().toISOString().slice(0, 10)}`);
  process.stdout.write(`${format(results)}\n`);
  return results.some((result) => result.problem) ? 1 : 0;
}

/** Undefined if they are wrong, which was then said. */
function readOptions() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        quick: { type: "boolean", default: false },
        output: { type: "string", default: "table" },
        help: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    tellUsage();
    return undefined;
  }
}

function tellUsage(): void {
  say("npm run bench -- [rows] [--quick] [--output table|json|markdown]\n\nrows:");
  for (const row of rows) say(`  ${row.name.padEnd(12)} ${row.title}`);
}

async function measure(row: Row, bench: Bench): Promise<Result> {
  say(`\n${row.name}: ${row.title}`);
  const start = performance.now();
  let figures: Result["figures"] = [];
  let problem = "";
  try {
    figures = await row.run(bench);
  } catch (error) {
    problem = error instanceof Error ? error.message : String(error);
    say(`failed: ${error instanceof Error ? error.stack : error}`);
    for (const warning of (await bench.warnings()).slice(-5)) say(`  the server warned: ${warning.slice(0, 1_000)}`);
  }
  await bench.endRow();
  const seconds = (performance.now() - start) / 1_000;
  say(`${row.name}: ${seconds.toFixed(1)} s`);
  return { row, figures, problem, seconds };
}

process.exitCode = await main();
