/** docs/configuration.md says what the table of settings says. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Setting } from "../../src/config/setting.js";
import { settings } from "../../src/config/settings.js";

const page = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8");

function row({
  key,
  flag,
  alias,
  placeholder,
  repeats,
  environment,
  help,
  default: value,
  defaultHelp,
}: Setting): string {
  const flags = [flag, alias].filter(Boolean).map((name) => `\`--${name}${placeholder ? ` ${placeholder}` : ""}\``);
  const shown = Array.isArray(value) ? value.join(", ") : String(value ?? "");
  const isShown = value !== undefined && shown !== "";
  return [
    `\`${key}\``,
    flags.join(" ") + (repeats ? ", repeatable" : ""),
    (environment ?? []).map((name) => `\`${name}\``).join(" "),
    isShown ? `\`${shown}\`` : (defaultHelp ?? "none"),
    help,
  ].join(" | ");
}

test("the page has every setting, in the table's order and words", () => {
  const rows = Object.values(settings).map((setting) => `| ${row(setting as Setting)} |`);
  const table = page.split("\n").filter((line) => line.startsWith("| `"));
  expect(table).toEqual(rows);
});

test("every default stands for itself: it is a value that its setting takes", () => {
  for (const setting of Object.values(settings) as Setting[]) {
    expect(setting.schema.safeParse(setting.default).success, setting.key).toBe(true);
  }
});
