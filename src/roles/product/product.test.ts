import { expect, test } from "vitest";
import { AppError } from "../../platform/errors.ts";
import type { GivenVariant } from "./product.ts";
import { derivedColumns, parseVariants } from "./product.ts";

function variant(sku: string, more: Partial<GivenVariant> = {}): GivenVariant {
  return { sku, options: { size: sku }, price: { currencyCode: "EUR", amountMinor: 100n }, attributes: {}, ...more };
}

function faultsOf(given: readonly GivenVariant[], field = "variants"): string[] {
  try {
    parseVariants(given, field);
    return [];
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return error.details.fields?.map((fault) => fault.field) ?? [];
  }
}

test("variants are read with their one currency", () => {
  const { currency, variants } = parseVariants([variant("A"), variant("B")], "variants");
  expect(currency).toBe("EUR");
  expect(variants.map(({ sku, priceMinor }) => [sku, priceMinor])).toEqual([
    ["A", 100n],
    ["B", 100n],
  ]);
  expect(faultsOf([variant("A", { options: {} })])).toEqual([]);
  expect(faultsOf([variant("A", { price: { currencyCode: "EUR", amountMinor: 0n } })])).toEqual([]);
});

test("all faults are named at once, by their paths", () => {
  const usd = { currencyCode: "USD", amountMinor: 1n };
  expect(
    faultsOf(
      [
        variant("A", { options: { size: "S", colour: "Red" } }),
        variant("a", { price: usd }),
        variant("B", { price: { currencyCode: "XXQ", amountMinor: 1n } }),
        variant("C", { price: { currencyCode: "EUR", amountMinor: -1n } }),
        variant("D", { options: { colour: "Red", size: "S" } }),
        variant("E", { price: undefined }),
      ],
      "variants.variants",
    ),
  ).toEqual([
    "variants.variants[1].sku",
    "variants.variants[1].price.currency_code",
    "variants.variants[2].price.currency_code",
    "variants.variants[3].price.amount_minor",
    "variants.variants[4].options",
    "variants.variants[5].price",
  ]);
  expect(faultsOf([])).toEqual(["variants"]);
});

test("what is derived: the lowest price, the sort key, the words", () => {
  const of = parseVariants(
    [variant("MUG-2"), variant("MUG-1", { price: { currencyCode: "EUR", amountMinor: 90n } })],
    "variants",
  );
  expect(derivedColumns({ title: "Émile's Mug", description: "Big.", attributes: { brand: "Havn" } }, of)).toEqual({
    currency_code: "EUR",
    lowest_price_minor: 90n,
    title_key: "emile's mug",
    search: "'emile':1A 's':2A 'mug':3A,4A,6A,9B,11B '2':5A,10B '1':7A,12B 'havn':8B 'big':13D",
  });
});
