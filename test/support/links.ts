/** Owns what the links of a Markdown document lead to: files that are there, and headings that are in them. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

/** One line per link of `document` (a path below `root`) to a file or a heading that is not there. */
export function brokenLinks(root: string, document: string): string[] {
  const text = withoutBlocks(readFileSync(join(root, document), "utf8"));
  return [...text.matchAll(/\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)/g)].flatMap(
    ([, target = "", anchor]) => {
      const path = target === "" ? document : normalize(join(dirname(document), target));
      const isThere = !path.startsWith("..") && existsSync(join(root, path));
      if (!isThere) return [`${document}: ${target}`];
      const knows = anchor === undefined || !path.endsWith(".md") || headings(join(root, path)).includes(anchor);
      return knows ? [] : [`${document}: ${target}#${anchor}`];
    },
  );
}

/** The anchors of a document's headings, as forges make them. */
function headings(file: string): string[] {
  const lines = withoutBlocks(readFileSync(file, "utf8")).matchAll(/^#+ +(.+)$/gm);
  return [...lines].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, "")
      .replaceAll(" ", "-"),
  );
}

/** What is in a code block is no heading and no link. */
function withoutBlocks(text: string): string {
  return text.replaceAll(/^ *```[\s\S]*?^ *```$/gm, "");
}
