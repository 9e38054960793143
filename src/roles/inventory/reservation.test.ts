import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ReservationLine } from "./reservation.ts";
import { demandOf, isSameDemand, leftOf, levelChanges, spreadReturn } from "./reservation.ts";

function line(sku: string, location: string, quantity: bigint, returned = 0n): ReservationLine {
  return { sku, location, quantity, returned, tracked: location !== "" };
}

test("lines of one SKU count together, in the order of their first", () => {
  const demand = demandOf([line("b", "x", 1n), line("a", "x", 2n), line("b", "y", 3n)]);
  expect([...demand]).toEqual([
    ["b", 4n],
    ["a", 2n],
  ]);
  expect(isSameDemand(demand, demandOf([line("a", "z", 2n), line("b", "z", 4n)]))).toBe(true);
  expect(isSameDemand(demand, demandOf([line("b", "z", 4n)]))).toBe(false);
  expect(isSameDemand(demand, demandOf([line("a", "z", 2n), line("b", "z", 5n)]))).toBe(false);
});

test("lines that were not tracked, or of which nothing is left, change no level", () => {
  const lines = [line("a", "x", 2n), line("free", "", 5n), line("b", "x", 2n, 2n)];
  expect(levelChanges(lines, { onHand: 1n, reserved: -1n }, leftOf)).toEqual([
    { sku: "a", location: "x", onHand: 2n, reserved: -2n },
  ]);
});

describe("spreadReturn", () => {
  const lines = [line("a", "x", 2n, 1n), line("a", "y", 3n), line("b", "x", 1n)];

  test("fills the lines in order, and leaves out those that get nothing", () => {
    const shares = spreadReturn(lines, new Map([["a", 3n]]));
    expect(shares.map(({ location, quantity }) => [location, quantity])).toEqual([
      ["x", 1n],
      ["y", 2n],
    ]);
  });

  test.each([
    ["more than was taken", "a", 5n, "4"],
    ["a SKU that was not taken", "c", 1n, "0"],
  ])("refuses %s", (_, sku, quantity, returnable) => {
    expect(() => spreadReturn(lines, new Map([[sku, quantity]]))).toThrow(
      expect.objectContaining({ reason: "RETURN_TOO_LARGE", details: { metadata: { sku, returnable } } }),
    );
  });

  test("what comes back is what was asked for, and never more than a line has left", () => {
    const someLines = fc
      .array(fc.tuple(fc.bigInt(1n, 9n), fc.bigInt(0n, 9n)), { minLength: 1, maxLength: 5 })
      .map((rows) => rows.map(([q, r], at) => line("a", `L${String(at)}`, q, r < q ? r : q)));
    fc.assert(
      fc.property(someLines, fc.bigInt(1n, 20n), (taken, wanted) => {
        const left = taken.reduce((sum, of) => sum + leftOf(of), 0n);
        fc.pre(wanted <= left);
        const shares = spreadReturn(taken, new Map([["a", wanted]]));
        expect(shares.reduce((sum, { quantity }) => sum + quantity, 0n)).toBe(wanted);
        for (const share of shares) {
          const of = taken.find(({ location }) => location === share.location);
          expect(share.quantity).toBeLessThanOrEqual(of ? leftOf(of) : -1n);
        }
      }),
    );
  });
});
