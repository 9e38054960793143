import type { Series } from "./figures.ts";
import { medianOf } from "./figures.ts";
import { short } from "./report.ts";

const WIDTH = 1_000;
const LABELS = 360;
const RIGHT = 110;
const ROW = 34;
const TOP = 70;
const PANEL_GAP = 60;
const TICKS = 4;

/** An SVG of a bench: a panel per unit, a row per series, a dot per round and a bar up to the median. */
export function plotOf(title: string, about: string, series: readonly Series[]): string {
  const units = [...new Set(series.map(({ unit }) => unit))];
  const panels: string[] = [];
  let top = TOP;
  for (const unit of units) {
    const rows = series.filter((one) => one.unit === unit);
    panels.push(panelOf(unit, rows, top));
    top += rows.length * ROW + PANEL_GAP;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${String(WIDTH)} ${String(top)}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="white"/>
${text(20, 28, escape(title), 'font-size="18" font-weight="bold"')}
${text(20, 50, escape(about), 'fill="#555"')}
${panels.join("\n")}
</svg>
`;
}

function panelOf(unit: string, series: readonly Series[], top: number): string {
  const most = niceAbove(Math.max(...series.flatMap(({ rounds }) => rounds.map(({ value }) => value))));
  const x = (value: number) => LABELS + (value / most) * (WIDTH - LABELS - RIGHT);
  const bottom = top + series.length * ROW;
  const ticks = Array.from({ length: TICKS + 1 }, (_, n) => (most * n) / TICKS);
  const axis = ticks.map(
    (value) => `<line x1="${at(x(value))}" x2="${at(x(value))}" y1="${at(top)}" y2="${at(bottom)}" stroke="#ddd"/>
${text(x(value), bottom + 18, `${short(value)} ${unit}`, 'text-anchor="middle" fill="#555"')}`,
  );
  const rows = series.map(({ name, rounds }, index) => {
    const y = top + index * ROW + ROW / 2;
    const values = rounds.map(({ value }) => value);
    const median = medianOf(values);
    const dots = values.map((value) => `<circle cx="${at(x(value))}" cy="${at(y)}" r="3.5" fill="#1f3a5f"/>`);
    return `${text(LABELS - 10, y + 4, escape(name), 'text-anchor="end"')}
<rect x="${at(LABELS)}" y="${at(y - 9)}" width="${at(x(median) - LABELS)}" height="18" fill="#9fc0e8"/>
${dots.join("")}
${text(x(Math.max(...values)) + 10, y + 4, short(median), 'font-weight="bold"')}`;
  });
  return [...axis, ...rows].join("\n");
}

/** A round number at or above: 1, 2, 2.5, 4, 5 or 8 of a power of ten. */
function niceAbove(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return power * ([1, 2, 2.5, 4, 5, 8, 10].find((step) => step * power >= value) ?? 10);
}

function text(x: number, y: number, content: string, attributes: string): string {
  return `<text x="${at(x)}" y="${at(y)}" ${attributes}>${content}</text>`;
}

function at(value: number): string {
  return value.toFixed(1);
}

function escape(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
