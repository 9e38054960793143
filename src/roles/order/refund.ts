import { splitByLargestRemainder, sumMinor } from "../../platform/money.ts";
import { invalidRequest } from "../../platform/errors.ts";
import { orderErrors } from "./errors.ts";
import type { Order, Refund, RefundLine } from "./order.ts";

/** What is to be paid back: units of lines, an amount in minor units, or all that is left. */
export interface RefundWish {
  /** Summed by line where one is named twice. */
  readonly lines: readonly { readonly number: number; readonly quantity: number }[];
  /** 0 with no lines: all that is left. */
  readonly minor: bigint;
  readonly restock: boolean;
}

type Refundable = Pick<Order, "currency" | "lines" | "adjustments" | "totalMinor" | "refundsMinor" | "refunds">;

/**
 * The amount of a refund, and the units that it is for. Refunding the units of all lines piece by piece and then what is
 * left sums to the total exactly: each piece is what its line costs up to there, less what was paid back for it before.
 * @throws AppError INVALID_REQUEST, REFUND_TOO_LARGE
 */
export function refundOf(order: Refundable, wish: RefundWish): Pick<Refund, "minor" | "lines"> {
  const leftMinor = order.totalMinor - order.refundsMinor;
  if (wish.lines.length > 0) {
    const lines = linesOf(order, wish.lines);
    const minor = sumMinor(lines.map((line) => line.minor));
    if (minor > leftMinor) throw tooLarge(order, leftMinor);
    return { minor, lines };
  }
  const minor = wish.minor === 0n ? leftMinor : wish.minor;
  if (minor > leftMinor || leftMinor === 0n) throw tooLarge(order, leftMinor);
  if (minor === leftMinor) return { minor, lines: linesOf(order, unitsLeft(order)) };
  if (wish.restock) {
    throw invalidRequest({ field: "restock", description: "needs lines, or that all that is left is paid back" });
  }
  return { minor, lines: [] };
}

/** What each line costs: less its own discounts and its share of the order's, with its fees and the tax on it. */
export function costOfLines({ lines, adjustments }: Pick<Order, "lines" | "adjustments">): Map<number, bigint> {
  const added = adjustments.filter(({ included }) => !included);
  const sumOf = (number: number, counts: (kind: string) => boolean) =>
    sumMinor(added.filter(({ kind, lineNumber }) => lineNumber === number && counts(kind)).map(({ minor }) => minor));
  const isDiscount = (kind: string) => kind === "DISCOUNT";
  // As in pricing: the order's discounts are shared by what the lines cost after their own.
  const bases = lines.map(({ number, amountMinor }) => amountMinor + sumOf(number, isDiscount));
  const shares = splitByLargestRemainder(sumOf(0, isDiscount), bases);
  return new Map(
    lines.map(({ number }, index) => {
      const charges = sumOf(number, (kind) => !isDiscount(kind));
      return [number, (bases[index] ?? 0n) + (shares[index] ?? 0n) + charges] as const;
    }),
  );
}

function linesOf(order: Refundable, wished: RefundWish["lines"]): RefundLine[] {
  const costs = costOfLines(order);
  return [...byNumber(wished)].map(([number, quantity]) => {
    const line = order.lines.find((candidate) => candidate.number === number);
    if (!line) {
      const at = wished.findIndex((wish) => wish.number === number);
      throw invalidRequest({ field: `lines[${String(at)}].number`, description: "is no line of this order" });
    }
    const before = backOf(order, number);
    const units = before.quantity + quantity;
    if (units > line.quantity) throw tooMany(number, line.quantity - before.quantity);
    const upTo = ((costs.get(number) ?? 0n) * BigInt(units)) / BigInt(line.quantity);
    const minor = upTo > before.minor ? upTo - before.minor : 0n;
    return { number, quantity, minor };
  });
}

function byNumber(lines: RefundWish["lines"]): Map<number, number> {
  const sums = new Map<number, number>();
  for (const { number, quantity } of lines) sums.set(number, (sums.get(number) ?? 0) + quantity);
  return sums;
}

function unitsLeft(order: Refundable): RefundWish["lines"] {
  return order.lines
    .map(({ number, quantity }) => ({ number, quantity: quantity - backOf(order, number).quantity }))
    .filter(({ quantity }) => quantity > 0);
}

/** What goes back of a line already. A refund that has failed does not count. */
function backOf({ refunds }: Pick<Order, "refunds">, number: number): { quantity: number; minor: bigint } {
  const lines = refunds
    .filter(({ state }) => state !== "FAILED")
    .flatMap((refund) => refund.lines.filter((line) => line.number === number));
  return {
    quantity: lines.reduce((sum, { quantity }) => sum + quantity, 0),
    minor: sumMinor(lines.map(({ minor }) => minor)),
  };
}

function tooLarge({ currency }: Pick<Order, "currency">, leftMinor: bigint): Error {
  return orderErrors.REFUND_TOO_LARGE({
    metadata: { refundable_minor: String(leftMinor), currency_code: currency },
  });
}

function tooMany(number: number, left: number): Error {
  return orderErrors.REFUND_TOO_LARGE({
    message: `Of line ${String(number)} ${String(left)} can be refunded.`,
    metadata: { line_number: String(number), refundable_quantity: String(left) },
  });
}
