import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AppError } from "../../platform/errors.ts";
import { decimalsOf } from "../../platform/money.ts";
import type { Order, Refund } from "./order.ts";
import type { Charge, Line } from "./pricing.ts";
import { priceOrder } from "./pricing.ts";
import { costOfLines, refundOf } from "./refund.ts";
import type { RefundWish } from "./refund.ts";
import { sampleTaxTable, taxRate } from "./tax.ts";

type Refundable = Pick<Order, "currency" | "lines" | "adjustments" | "totalMinor" | "refundsMinor" | "refunds">;

const line = (number: number, unitMinor: bigint, quantity: number, taxCategory = "standard"): Line => ({
  number,
  sku: `S${String(number)}`,
  productId: "p",
  title: "t",
  options: {},
  unitMinor,
  quantity,
  taxCategory,
});

function orderOf(
  lines: readonly Line[],
  charges: readonly Charge[] = [],
  inclusive = false,
  currency = "EUR",
): Refundable {
  const rule = { inclusive, rateOf: (category: string) => taxRate(sampleTaxTable, "DE", category) };
  return { currency, ...priceOrder(lines, charges, rule), refunds: [], refundsMinor: 0n };
}

const wishOf = (more: Partial<RefundWish>): RefundWish => ({ lines: [], minor: 0n, restock: false, ...more });

/** The order with one more refund. */
function after(order: Refundable, wish: Partial<RefundWish>, state: Refund["state"] = "SUCCEEDED"): Refundable {
  const part = refundOf(order, wishOf(wish));
  const refund = { ...part, id: "", state, reason: "", restock: false, failureCode: "", createdAt: new Date() };
  const minor = state === "FAILED" ? 0n : part.minor;
  return { ...order, refunds: [...order.refunds, refund], refundsMinor: order.refundsMinor + minor };
}

function refusedWith(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    if (error instanceof AppError) return [error.reason, error.details.metadata ?? error.details.fields?.[0]?.field];
  }
  return undefined;
}

describe("an amount", () => {
  const order = orderOf([line(1, 1000n, 2)]);

  test("is what was asked for, or all that is left with all units", () => {
    expect(order.totalMinor).toBe(2380n);
    expect(refundOf(order, wishOf({ minor: 100n }))).toEqual({ minor: 100n, lines: [] });
    const all = { minor: 2380n, lines: [{ number: 1, quantity: 2, minor: 2380n }] };
    expect(refundOf(order, wishOf({}))).toEqual(all);
    expect(refundOf(order, wishOf({ minor: 2380n, restock: true }))).toEqual(all);
  });

  test("is never over what is left, whatever is under way", () => {
    const left = { refundable_minor: "1380", currency_code: "EUR" };
    const some = after(order, { minor: 1000n }, "PENDING");
    expect(refusedWith(() => refundOf(some, wishOf({ minor: 1381n })))).toEqual(["REFUND_TOO_LARGE", left]);
    expect(refundOf(some, wishOf({ minor: 1380n })).minor).toBe(1380n);
    expect(refundOf(after(order, { minor: 1000n }, "FAILED"), wishOf({})).minor).toBe(2380n);
    const none = { refundable_minor: "0", currency_code: "EUR" };
    expect(refusedWith(() => refundOf(after(order, {}), wishOf({})))).toEqual(["REFUND_TOO_LARGE", none]);
  });

  test("that is a part brings no units back", () => {
    expect(refusedWith(() => refundOf(order, wishOf({ minor: 5n, restock: true })))).toEqual([
      "INVALID_REQUEST",
      "restock",
    ]);
  });
});

describe("units of lines", () => {
  test("cost their share of discounts and tax, and none of the shipping", () => {
    const order = orderOf(
      [line(1, 1000n, 3), line(2, 1000n, 1)],
      [
        { kind: "DISCOUNT", lineNumber: 0, label: "d", minor: -400n, source: "manual" },
        { kind: "DISCOUNT", lineNumber: 2, label: "d", minor: -500n, source: "manual" },
        { kind: "SHIPPING", lineNumber: 0, label: "s", minor: 500n, source: "manual", taxCategory: "standard" },
        { kind: "FEE", lineNumber: 1, label: "gift", minor: 300n, source: "manual" },
      ],
    );
    const costs = costOfLines(order);
    // 3000 less 343 of 400, and 19 %, and the fee; 500 less 57, and 19 %.
    expect(costs.get(1)).toBe(2657n + 505n + 300n);
    expect(costs.get(2)).toBe(443n + 84n);
    const lines = [{ number: 1, quantity: 1 }];
    expect(refundOf(order, wishOf({ lines })).minor).toBe((2657n + 505n + 300n) / 3n);
  });

  test("are summed by line, and no more than there are", () => {
    const order = orderOf([line(1, 1000n, 3)]);
    const one = { number: 1, quantity: 1 };
    expect(refundOf(order, wishOf({ lines: [one, one] })).lines).toMatchObject([{ number: 1, quantity: 2 }]);
    const left = { line_number: "1", refundable_quantity: "1" };
    const two = after(order, { lines: [one, one] }, "PENDING");
    expect(refusedWith(() => refundOf(two, wishOf({ lines: [one, one] })))).toEqual(["REFUND_TOO_LARGE", left]);
    expect(refusedWith(() => refundOf(order, wishOf({ lines: [one, { number: 2, quantity: 1 }] })))).toEqual([
      "INVALID_REQUEST",
      "lines[1].number",
    ]);
  });

  test("do not bring back what was paid back as an amount", () => {
    const order = after(orderOf([line(1, 1000n, 1)]), { minor: 200n });
    expect(refusedWith(() => refundOf(order, wishOf({ lines: [{ number: 1, quantity: 1 }] })))).toEqual([
      "REFUND_TOO_LARGE",
      { refundable_minor: "990", currency_code: "EUR" },
    ]);
  });
});

const amount = fc.bigInt(0n, 5_000_000n);
const anyLine = fc.record({
  unit: amount,
  quantity: fc.integer({ min: 1, max: 7 }),
  category: fc.constantFrom("standard", "reduced", "none"),
});
const anyOrder = fc
  .record({
    lines: fc.array(anyLine, { minLength: 1, maxLength: 5 }),
    currency: fc.constantFrom("JPY", "EUR", "USD", "KWD"),
    inclusive: fc.boolean(),
    discount: fc.integer({ min: 0, max: 100 }),
    lineDiscount: fc.integer({ min: 0, max: 100 }),
    shipping: fc.option(amount, { nil: undefined }),
    fee: fc.option(amount, { nil: undefined }),
  })
  .map(({ lines, currency, inclusive, discount, lineDiscount, shipping, fee }) => {
    const bought = lines.map(({ unit, quantity, category }, index) => line(index + 1, unit, quantity, category));
    const ofLine = (of: Line) => of.unitMinor * BigInt(of.quantity);
    const first = bought.slice(0, 1).map((of) => -(ofLine(of) * BigInt(lineDiscount)) / 100n)[0] ?? 0n;
    const items = bought.reduce((sum, of) => sum + ofLine(of), first);
    const charges: Charge[] = [
      { kind: "DISCOUNT", lineNumber: 1, label: "l", minor: first, source: "manual" },
      { kind: "DISCOUNT", lineNumber: 0, label: "o", minor: -(items * BigInt(discount)) / 100n, source: "manual" },
      ...(shipping === undefined
        ? []
        : [
            {
              kind: "SHIPPING",
              lineNumber: 0,
              label: "s",
              minor: shipping,
              source: "m",
              taxCategory: "standard",
            } as const,
          ]),
      ...(fee === undefined ? [] : [{ kind: "FEE", lineNumber: 1, label: "f", minor: fee, source: "m" } as const]),
    ];
    return orderOf(bought, charges, inclusive, currency);
  });

describe("of any order, in currencies of 0, 2 and 3 decimals", () => {
  test("the currencies are those", () => {
    expect(["JPY", "EUR", "USD", "KWD"].map(decimalsOf)).toEqual([0, 2, 2, 3]);
  });

  test("what the lines cost is never below 0, nor over what was paid", () => {
    fc.assert(
      fc.property(anyOrder, (order) => {
        const costs = [...costOfLines(order).values()];
        expect(costs.every((cost) => cost >= 0n)).toBe(true);
        expect(costs.reduce((sum, cost) => sum + cost, 0n) <= order.totalMinor).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test("units in any pieces and order, refusals in between, and then the rest come to what was paid", () => {
    const piece = fc.record({ at: fc.nat(), quantity: fc.integer({ min: 1, max: 3 }), fails: fc.boolean() });
    fc.assert(
      fc.property(anyOrder, fc.array(piece, { maxLength: 25 }), (start, pieces) => {
        let order = start;
        const refund = (number: number, quantity: number, fails: boolean) => {
          order = after(order, { lines: [{ number, quantity }] }, fails ? "FAILED" : "SUCCEEDED");
          expect(order.refundsMinor <= order.totalMinor).toBe(true);
          expect(order.refunds.every(({ minor }) => minor >= 0n)).toBe(true);
        };
        const left = new Map(order.lines.map(({ number, quantity }) => [number, quantity]));
        for (const { at, quantity, fails } of pieces) {
          const { number = 0 } = order.lines[at % order.lines.length] ?? {};
          const units = Math.min(quantity, left.get(number) ?? 0);
          if (units === 0) continue;
          refund(number, units, fails);
          if (!fails) left.set(number, (left.get(number) ?? 0) - units);
        }
        for (const [number, units] of left) for (let unit = 0; unit < units; unit += 1) refund(number, 1, false);
        const costs = [...costOfLines(order).values()].reduce((sum, cost) => sum + cost, 0n);
        expect(order.refundsMinor).toBe(costs);
        if (order.refundsMinor < order.totalMinor) order = after(order, {});
        expect(order.refundsMinor).toBe(order.totalMinor);
      }),
      { numRuns: 500 },
    );
  });
});
