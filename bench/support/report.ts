import type { Plan, Ratio, Round, Series } from "./figures.ts";
import { medianOf } from "./figures.ts";

/** A number with as many digits as tell something. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** The line of one round, as it ends. */
export function roundLine({ name, unit }: Plan, round: Round): string {
  const { p50, p99, failures = {}, backlog, acknowledged, rows } = round;
  const parts = [
    `${short(round.value).padStart(9)} ${unit}`,
    ...(p50 === undefined ? [] : [`p50 ${short(p50)} ms, p99 ${short(p99 ?? 0)} ms`]),
    ...(acknowledged === undefined ? [] : [`${String(acknowledged)} acknowledged`]),
    ...(rows === undefined ? [] : [`${String(rows)} rows`]),
    ...(backlog ? [`backlog ${String(backlog.pending)}, oldest ${short(backlog.oldestSeconds)} s`] : []),
    ...Object.entries(failures).map(([code, count]) => `${String(count)} × ${code}`),
  ];
  return `  ${name}: ${parts.join("; ")}`;
}

/** The tables of a bench: every series with its medians, every ratio with its denominator and spread. */
export function reportOf(series: readonly Series[], ratios: readonly Ratio[]): string {
  const median = (rounds: readonly Round[], of: (round: Round) => number | undefined) => {
    const values = rounds.flatMap((round) => of(round) ?? []);
    return values.length === 0 ? "" : short(medianOf(values));
  };
  const figures = series.map(({ name, unit, rounds }) => {
    const values = rounds.map(({ value }) => value);
    return [
      name,
      `${short(medianOf(values))} ${unit}`,
      `${short(Math.min(...values))} to ${short(Math.max(...values))}`,
      median(rounds, ({ p50 }) => p50),
      median(rounds, ({ p99 }) => p99),
      median(rounds, ({ max }) => max),
      sum(rounds, ({ acknowledged }) => acknowledged),
      sum(rounds, ({ rows }) => rows),
      failuresOf(rounds),
      median(rounds, ({ otherCores }) => otherCores),
    ];
  });
  const head = [
    "series",
    "median",
    "range",
    "p50 ms",
    "p99 ms",
    "max ms",
    "acknowledged",
    "rows",
    "failures",
    "others' cores",
  ];
  const against = ratios.map(({ of, against: other, ratio, lowest, highest }) => [
    of,
    other,
    ratio.toFixed(3),
    `${lowest.toFixed(3)} to ${highest.toFixed(3)}`,
  ]);
  return [
    table(head, figures),
    ...(against.length === 0 ? [] : [table(["ratio of", "against", "of medians", "of rounds"], against)]),
    ...perProcess("CPU, µs per thing done", series, ({ cpu }) => cpu),
    ...perProcess("memory, MiB, the most seen", series, ({ rss }) => rss),
    ...backlogs(series),
    ...notesOf(series),
  ].join("\n\n");
}

function sum(rounds: readonly Round[], of: (round: Round) => number | undefined): string {
  const values = rounds.flatMap((round) => of(round) ?? []);
  return values.length === 0 ? "" : String(values.reduce((total, value) => total + value, 0));
}

function failuresOf(rounds: readonly Round[]): string {
  const counts: Record<string, number> = {};
  for (const { failures = {} } of rounds) {
    for (const [code, count] of Object.entries(failures)) counts[code] = (counts[code] ?? 0) + count;
  }
  const all = Object.entries(counts).map(([code, count]) => `${String(count)} × ${code}`);
  return all.join(", ") || "none";
}

type Values = Readonly<Record<string, number>>;

function perProcess(title: string, series: readonly Series[], of: (round: Round) => Values | undefined): string[] {
  const measured = series.filter(({ rounds }) => rounds.some((round) => of(round)));
  const names = [...new Set(measured.flatMap(({ rounds }) => rounds.flatMap((round) => Object.keys(of(round) ?? {}))))];
  if (names.length === 0) return [];
  const rows = measured.map(({ name, rounds }) => {
    const cells = names.map((process) => {
      const values = rounds.flatMap((round) => of(round)?.[process] ?? []);
      return values.length === 0 ? "" : short(medianOf(values));
    });
    return [name, ...cells];
  });
  return [table([title, ...names], rows)];
}

function backlogs(series: readonly Series[]): string[] {
  const rows = series.flatMap(({ name, rounds }) => {
    const all = rounds.flatMap(({ backlog }) => backlog ?? []);
    if (all.length === 0) return [];
    const of = (values: readonly number[]) => short(medianOf(values));
    const { pending, oldest, drain } = {
      pending: of(all.map((one) => one.pending)),
      oldest: of(all.map((one) => one.oldestSeconds)),
      drain: of(all.map((one) => one.drainSeconds)),
    };
    return [[name, pending, oldest, drain]];
  });
  return rows.length === 0 ? [] : [table(["orders PENDING at the end", "orders", "oldest, s", "until none, s"], rows)];
}

function notesOf(series: readonly Series[]): string[] {
  return series.flatMap(({ name, rounds }) => {
    const notes = rounds.at(-1)?.notes;
    if (!notes) return [];
    return [
      `${name}: ${Object.entries(notes)
        .map(([key, value]) => `${key} ${String(value)}`)
        .join(", ")}`,
    ];
  });
}

/** Columns that line up, the first to the left. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)));
  return all
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
