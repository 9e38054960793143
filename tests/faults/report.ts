/** Times of the whole file and a table, as the suite prints them. */
export function printTable(title: string, startedAt: number, rows: readonly (readonly string[])[]): void {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join(" | ")
      .trimEnd(),
  );
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(0);
  console.info(`\n${title}, ${seconds} s\n${lines.join("\n")}\n`);
}

/** The smallest, the median and the largest. */
export function spread(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const [least, middle, most] = [sorted[0], sorted[sorted.length >> 1], sorted.at(-1)];
  return [least, middle, most].map((ms) => (ms ?? Number.NaN).toFixed(0)).join(" / ");
}

/** How often each occurs: `3 Unavailable PEER_DOWN`. */
export function tally(values: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].map(([value, count]) => `${String(count)} ${value}`).join(", ") || "none";
}

/** Iterations of what is repeated. */
export const rounds = Number(process.env["FAULT_ROUNDS"] ?? "20");
