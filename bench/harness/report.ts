/** Owns how figures are told: a table for people, JSON for programs. */
import { cpus, release, totalmem } from "node:os";
import Table from "cli-table3";
import { type Figure, judge, type Row, type Target } from "./row.js";
import type { Summary } from "./samples.js";

export interface Result {
  readonly row: Row;
  readonly figures: readonly Figure[];
  /** Why it could not be measured; empty if it was. */
  readonly problem: string;
  readonly seconds: number;
}

export function toTable(results: readonly Result[]): string {
  const table = new Table({
    head: ["row", "what", "ours", "peer", "ratio", "target", "met"],
    style: { head: [], border: [] },
    colWidths: [12, 44, 26, 34, 7, 20, 5],
    wordWrap: true,
  });
  for (const { row, figures, problem } of results) {
    if (problem) table.push([row.name, { content: `failed: ${problem}`, colSpan: 5 }, "NO"]);
    for (const figure of figures) table.push([row.name, ...cells(figure)]);
  }
  return table.toString();
}

export function toMarkdown(results: readonly Result[]): string {
  const lines = ["| row | what | ours | peer | ratio | target | met |", "|---|---|---|---|---|---|---|"];
  for (const { row, figures, problem } of results) {
    if (problem) lines.push(`| ${row.name} | failed: ${problem} | | | | | NO |`);
    for (const figure of figures) lines.push(`| ${[row.name, ...cells(figure)].join(" | ")} |`);
  }
  return lines.join("\n");
}

export function toJson(results: readonly Result[], machine: Machine): string {
  const rows = results.map(({ row, figures, problem, seconds }) => ({
    row: row.name,
    title: row.title,
    seconds,
    ...(problem ? { problem } : {}),
    figures: figures.map((figure) => ({ ...figure, ...judge(figure) })),
  }));
  return JSON.stringify({ machine, rows }, null, 2);
}

export interface Machine {
  readonly cores: number;
  readonly processor: string;
  readonly memoryGb: number;
  readonly system: string;
  readonly node: string;
}

export function machine(): Machine {
  return {
    cores: cpus().length,
    processor: cpus()[0]?.model.trim() ?? "",
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release()}`,
    node: process.versions.node,
  };
}

function cells(figure: Figure): string[] {
  const { what, ours, peer, target } = figure;
  const { ratio, met } = judge(figure);
  return [
    what,
    told(ours, figure.unit),
    peer ? `${peer.name}: ${told(peer.summary, figure.unit)}` : "",
    ratio === undefined ? "" : ratio.toFixed(2),
    target ? toldTarget(target, figure.unit) : "",
    met === undefined ? "" : met ? "yes" : "NO",
  ];
}

function told(summary: Summary, unit: string): string {
  const median = `${short(summary.median)}${unit ? ` ${unit}` : ""}`;
  return summary.count > 1 && unit === "ms" ? `${median} (p99 ${short(summary.p99)})` : median;
}

function toldTarget({ of, limit, is }: Target, unit: string): string {
  const sign = is === "at most" ? "<=" : ">=";
  return of === "ratio" ? `ratio ${sign} ${limit}` : `${of} ${sign} ${limit}${unit ? ` ${unit}` : ""}`;
}

function short(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
