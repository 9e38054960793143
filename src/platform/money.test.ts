import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AppError } from "./errors.ts";
import { basisPoints, parseMoney, splitByLargestRemainder, sumMinor } from "./money.ts";

describe("splitByLargestRemainder", () => {
  test("gives what is left over to the largest remainders, the first of equals", () => {
    expect(splitByLargestRemainder(100n, [1n, 1n, 1n])).toEqual([34n, 33n, 33n]);
    expect(splitByLargestRemainder(10n, [1n, 2n, 4n])).toEqual([1n, 3n, 6n]);
    expect(splitByLargestRemainder(-100n, [1n, 1n, 1n])).toEqual([-34n, -33n, -33n]);
    expect(splitByLargestRemainder(5n, [0n, 0n])).toEqual([3n, 2n]);
  });

  test("parts sum to the whole, keep its sign, and are within one unit of their exact share", () => {
    const amount = fc.bigInt({ min: -(10n ** 15n), max: 10n ** 15n });
    const weights = fc.array(fc.bigInt({ min: 0n, max: 10n ** 12n }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(amount, weights, (whole, shares) => {
        const parts = splitByLargestRemainder(whole, shares);
        const total = shares.reduce((sum, share) => sum + share, 0n);
        expect(parts.reduce((sum, part) => sum + part, 0n)).toBe(whole);
        parts.forEach((part, index) => {
          expect(part === 0n || part > 0n === whole > 0n).toBe(true);
          if (total === 0n) return;
          const distance = part * total - whole * (shares[index] ?? 0n);
          expect((distance < 0n ? -distance : distance) < total).toBe(true);
        });
      }),
    );
  });
});

test("basisPoints rounds half away from zero", () => {
  expect([basisPoints(2580n, 1900), basisPoints(50n, 100), basisPoints(-50n, 100), basisPoints(49n, 100)]).toEqual([
    490n,
    1n,
    -1n,
    0n,
  ]);
});

test("sums beyond 64 bits are refused, not wrapped", () => {
  expect(sumMinor([2n ** 62n, 2n ** 62n - 1n])).toBe(2n ** 63n - 1n);
  expect(() => sumMinor([2n ** 62n, 2n ** 62n])).toThrow(AppError);
});

test("parseMoney knows the world's currencies and a lower bound", () => {
  expect(parseMoney({ currencyCode: "JPY", amountMinor: 1290n }, "price", 0n)).toEqual({
    currency: "JPY",
    minor: 1290n,
  });
  expect(() => parseMoney({ currencyCode: "XYZ", amountMinor: 1n }, "price")).toThrow(/price\.currency_code/);
  expect(() => parseMoney({ currencyCode: "EUR", amountMinor: -1n }, "price", 0n)).toThrow(/price\.amount_minor/);
});
