import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Charge, Line, TaxRule } from "./pricing.ts";
import { priceOrder } from "./pricing.ts";
import { parseTaxTable, sampleTaxTable, taxOn, taxRate } from "./tax.ts";

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
const ruleOf = (country: string, inclusive = false): TaxRule => ({
  inclusive,
  rateOf: (category) => taxRate(sampleTaxTable, country, category),
});

describe("priceOrder", () => {
  test("adds the tax of each category on top of exclusive prices", () => {
    const price = priceOrder([line(1, 1290n, 2), line(2, 1000n, 1, "reduced")], [], ruleOf("DE"));
    expect(price.itemsMinor).toBe(3580n);
    expect(price.adjustments.map(({ label, minor, lineNumber }) => [label, minor, lineNumber])).toEqual([
      ["VAT 19 %", 490n, 1],
      ["VAT 7 %", 70n, 2],
    ]);
    expect(price.totalMinor).toBe(3580n + 560n);
  });

  test("shows the tax that inclusive prices contain, and does not add it", () => {
    const price = priceOrder([line(1, 11_900n, 1)], [], ruleOf("DE", true));
    expect(price.adjustments).toMatchObject([{ kind: "TAX", minor: 1900n, included: true }]);
    expect(price.totalMinor).toBe(11_900n);
  });

  test("rounds once per rate: three lines of 10 cents pay 6 cents of tax, not 3 × 2", () => {
    const price = priceOrder([line(1, 10n, 1), line(2, 10n, 1), line(3, 10n, 1)], [], ruleOf("DE"));
    expect(price.adjustments.map(({ minor }) => minor)).toEqual([2n, 2n, 2n]);
    const five = priceOrder([line(1, 3n, 1), line(2, 3n, 1)], [], ruleOf("DE"));
    expect(five.adjustments.map(({ minor }) => minor)).toEqual([1n, 0n]);
  });

  test("discounts come first and lower the tax; shipping is taxed by its own category", () => {
    const charges: Charge[] = [
      { kind: "SHIPPING", lineNumber: 0, label: "Parcel", minor: 500n, source: "shipping", taxCategory: "standard" },
      { kind: "DISCOUNT", lineNumber: 0, label: "Ten percent", minor: -200n, source: "manual" },
    ];
    const price = priceOrder([line(1, 1000n, 2)], charges, ruleOf("DE"));
    expect(price.adjustments.map(({ kind, minor }) => [kind, minor])).toEqual([
      ["DISCOUNT", -200n],
      ["SHIPPING", 500n],
      ["TAX", 342n],
      ["TAX", 95n],
    ]);
    expect(price.totalMinor).toBe(2000n - 200n + 500n + 342n + 95n);
  });

  test("a discount cannot be more than its line", () => {
    const discount: Charge = { kind: "DISCOUNT", lineNumber: 1, label: "x", minor: -101n, source: "manual" };
    expect(() => priceOrder([line(1, 100n, 1)], [discount], ruleOf("DE"))).toThrow(RangeError);
  });

  test("an amount beyond 64 bits is refused", () => {
    expect(() => priceOrder([line(1, 2n ** 62n, 3)], [], ruleOf("DE"))).toThrow(/over what can be represented/);
  });

  test("the parts always sum to the total, and the tax to its rate on what is taxed", () => {
    const lines = fc.array(
      fc.record({
        unit: fc.bigInt({ min: 0n, max: 10_000_000n }),
        quantity: fc.integer({ min: 1, max: 1000 }),
        category: fc.constantFrom("standard", "reduced", "unknown"),
      }),
      { minLength: 1, maxLength: 20 },
    );
    fc.assert(
      fc.property(
        lines,
        fc.constantFrom("DE", "CH", "GB", "US"),
        fc.boolean(),
        fc.nat(100),
        (items, country, inclusive, percent) => {
          const list = items.map(({ unit, quantity, category }, index) => line(index + 1, unit, quantity, category));
          const items0 = list.reduce((sum, { unitMinor, quantity }) => sum + unitMinor * BigInt(quantity), 0n);
          const discount = (items0 * BigInt(percent)) / 100n;
          const charges: Charge[] = [
            { kind: "DISCOUNT", lineNumber: 0, label: "d", minor: -discount, source: "manual" },
          ];
          const price = priceOrder(list, charges, ruleOf(country, inclusive));
          const added = price.adjustments
            .filter(({ included }) => !included)
            .reduce((sum, { minor }) => sum + minor, 0n);
          expect(price.itemsMinor).toBe(items0);
          expect(price.totalMinor).toBe(items0 + added);
          const taxed = price.adjustments.filter(({ kind }) => kind === "TAX");
          expect(taxed.every(({ minor }) => minor >= 0n)).toBe(true);
          expect(taxed.length === 0).toBe(country === "US");
        },
      ),
    );
  });
});

describe("tax", () => {
  test("an unknown category falls to the standard rate, an unknown country to none", () => {
    expect(taxRate(sampleTaxTable, "DE", "unheard-of")).toMatchObject({ points: 1900, source: "tax:DE:standard" });
    expect(taxRate(sampleTaxTable, "US", "standard")).toBeUndefined();
    expect(taxRate(sampleTaxTable, "CH", "standard")?.label).toBe("VAT 8.1 %");
  });

  test("inclusive tax is what is left of the gross after the net", () => {
    const rate = { points: 1900, label: "", source: "" };
    expect(taxOn(119n, rate, true)).toBe(19n);
    expect(taxOn(100n, rate, true)).toBe(16n);
    expect(taxOn(0n, rate, true)).toBe(0n);
  });

  test("a table is read from JSON, and says what is wrong with it", () => {
    const good = '{"inclusive":true,"country":"FR","rates":{"FR":{"standard":2000}}}';
    expect(parseTaxTable(good)).toEqual({ inclusive: true, country: "FR", rates: { FR: { standard: 2000 } } });
    expect(() => parseTaxTable('{"inclusive":true,"country":"FR","rates":{"FR":{"standard":0.2}}}')).toThrow(
      /FR\.standard/,
    );
    expect(() => parseTaxTable('{"inclusive":true,"country":"France","rates":{}}')).toThrow(/country/);
    expect(() => parseTaxTable("[]")).toThrow(/object/);
  });
});
