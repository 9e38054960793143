import { checkedMinor, splitByLargestRemainder, sumMinor } from "../../platform/money.ts";
import type { TaxRate } from "./tax.ts";
import { taxOn } from "./tax.ts";

export type AdjustmentKind = "DISCOUNT" | "TAX" | "SHIPPING" | "FEE";

/** What is bought, with the catalogue's price. */
export interface Line {
  /** From 1. */
  readonly number: number;
  readonly sku: string;
  readonly productId: string;
  readonly title: string;
  readonly options: Readonly<Record<string, string>>;
  readonly unitMinor: bigint;
  readonly quantity: number;
  readonly taxCategory: string;
}

export interface PricedLine extends Line {
  readonly amountMinor: bigint;
}

/** A discount (below 0), shipping or fee, of one line or (line 0) of the order. */
export interface Charge {
  readonly kind: Exclude<AdjustmentKind, "TAX">;
  readonly lineNumber: number;
  readonly label: string;
  readonly minor: bigint;
  readonly source: string;
  /** The tax category of shipping and fees; discounts lower what their lines are taxed on. */
  readonly taxCategory?: string;
}

export interface Adjustment {
  readonly kind: AdjustmentKind;
  readonly lineNumber: number;
  readonly label: string;
  readonly minor: bigint;
  /** Shown, not added. */
  readonly included: boolean;
  readonly source: string;
}

export interface TaxRule {
  readonly inclusive: boolean;
  rateOf(category: string): TaxRate | undefined;
}

export interface Price {
  readonly lines: readonly PricedLine[];
  readonly adjustments: readonly Adjustment[];
  /** The sum of the lines. */
  readonly itemsMinor: bigint;
  /** Lines and all adjustments that are not included. */
  readonly totalMinor: bigint;
}

/**
 * Prices an order, always in this sequence: lines, discounts, shipping and fees, tax. Tax is rounded once per rate, on
 * the sum of what it applies to, and split over the lines by largest remainder, so that the parts sum to the total.
 *
 * @throws AppError AMOUNT_TOO_LARGE; RangeError where discounts are more than what they apply to.
 */
export function priceOrder(lines: readonly Line[], charges: readonly Charge[], tax: TaxRule): Price {
  const priced = lines.map((line) => ({ ...line, amountMinor: checkedMinor(line.unitMinor * BigInt(line.quantity)) }));
  const itemsMinor = sumMinor(priced.map((line) => line.amountMinor));
  const inOrder = [...charges].sort((a, b) => rank(a.kind) - rank(b.kind));
  const charged = inOrder.map(({ kind, lineNumber, label, minor, source }) => ({
    kind,
    lineNumber,
    label,
    minor,
    included: false,
    source,
  }));
  const taxes = taxesOf(priced, inOrder, tax);
  const adjustments = [...charged, ...taxes];
  const added = adjustments.filter(({ included }) => !included).map(({ minor }) => minor);
  return { lines: priced, adjustments, itemsMinor, totalMinor: sumMinor([itemsMinor, ...added]) };
}

function rank(kind: Charge["kind"]): number {
  return { DISCOUNT: 0, SHIPPING: 1, FEE: 2 }[kind];
}

/** Something that is taxed: a line less its discounts, or a charge. */
interface Taxed {
  readonly lineNumber: number;
  readonly minor: bigint;
  readonly category: string;
}

function taxesOf(lines: readonly PricedLine[], charges: readonly Charge[], tax: TaxRule): Adjustment[] {
  const taxed: Taxed[] = [
    ...discounted(lines, charges),
    ...charges.flatMap(({ lineNumber, minor, taxCategory }) =>
      taxCategory === undefined ? [] : [{ lineNumber, minor, category: taxCategory }],
    ),
  ];
  const groups = new Map<string, { rate: TaxRate; parts: Taxed[] }>();
  for (const part of taxed) {
    const rate = tax.rateOf(part.category);
    if (!rate) continue;
    const group = groups.get(rate.source) ?? { rate, parts: [] };
    group.parts.push(part);
    groups.set(rate.source, group);
  }
  return [...groups.values()].flatMap(({ rate, parts }) => {
    const whole = taxOn(sumMinor(parts.map(({ minor }) => minor)), rate, tax.inclusive);
    const shares = splitByLargestRemainder(
      whole,
      parts.map(({ minor }) => minor),
    );
    return parts.map(({ lineNumber }, index) => ({
      kind: "TAX" as const,
      lineNumber,
      label: rate.label,
      minor: shares[index] ?? 0n,
      included: tax.inclusive,
      source: rate.source,
    }));
  });
}

/** What each line is taxed on: its amount less its own discounts and its share of the order's. */
function discounted(lines: readonly PricedLine[], charges: readonly Charge[]): Taxed[] {
  const discounts = charges.filter(({ kind }) => kind === "DISCOUNT");
  const afterOwn = lines.map(
    (line) => line.amountMinor + sumMinor(discounts.filter((d) => d.lineNumber === line.number).map((d) => d.minor)),
  );
  const ofOrder = sumMinor(discounts.filter((d) => d.lineNumber === 0).map((d) => d.minor));
  const bases = afterOwn.map((minor) => (minor > 0n ? minor : 0n));
  const shares = lines.length === 0 ? [] : splitByLargestRemainder(ofOrder, bases);
  return lines.map((line, index) => {
    const minor = (afterOwn[index] ?? 0n) + (shares[index] ?? 0n);
    if (minor < 0n) throw new RangeError(`the discounts of line ${String(line.number)} are more than its amount`);
    return { lineNumber: line.number, minor, category: line.taxCategory };
  });
}
