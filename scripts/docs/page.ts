import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { root } from "../checks/source.ts";

/** A file that is written by a script, from the root. */
export interface Page {
  readonly file: string;
  readonly text: string;
}

/** Says on which page, and where, what is committed differs from what would be written; empty where nothing does. */
export function comparePages(pages: readonly Page[], remedy: string): string[] {
  return pages.flatMap(({ file, text }) => {
    const committed = readPage(file);
    if (committed === text) return [];
    const [old, now] = [committed.split("\n"), text.split("\n")];
    const at = now.findIndex((line, index) => line !== old[index]);
    const line = at === -1 ? now.length : at;
    return [
      `${file} is not current at line ${String(line + 1)}. Run: ${remedy}`,
      `  committed: ${old[line] ?? "(nothing)"}`,
      `  now:       ${now[line] ?? "(nothing)"}`,
    ];
  });
}

export function writePages(pages: readonly Page[]): void {
  for (const { file, text } of pages) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
}

/** Empty where there is none. */
export function readPage(file: string): string {
  const path = join(root, file);
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

/** A Markdown table that is also readable as text. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  const [first = [], ...others] = cells;
  return [line(first), line(widths.map((width) => "-".repeat(width))), ...others.map(line)].join("\n");
}

/** Text between backticks; nothing where there is none. */
export function code(text: string): string {
  return text === "" ? "" : `\`${text}\``;
}

/** Puts a generated part between its markers. @throws Error where the page has no such markers */
export function between(page: string, name: string, part: string): string {
  const [start, end] = [`<!-- generated: ${name} -->`, "<!-- end -->"];
  const from = page.indexOf(start);
  const to = page.indexOf(end, from);
  if (from === -1 || to === -1) throw new Error(`There are no markers "${start}" and "${end}".`);
  return `${page.slice(0, from + start.length)}\n\n${part}\n\n${page.slice(to)}`;
}
