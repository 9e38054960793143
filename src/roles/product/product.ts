import type { FieldViolation } from "../../platform/errors.ts";
import { AppError, invalidRequest } from "../../platform/errors.ts";
import { parseMoney } from "../../platform/money.ts";
import { searchVector, sortKey } from "./text.ts";

export type ProductState = "active" | "archived";
export type TextMap = Readonly<Record<string, string>>;

export interface Variant {
  readonly sku: string;
  readonly options: TextMap;
  /** In minor units of the product's currency. */
  readonly priceMinor: bigint;
  readonly attributes: TextMap;
}

/** At least one variant, all priced in one currency. */
export interface PricedVariants {
  readonly currency: string;
  readonly variants: readonly Variant[];
}

/** What a product says of itself, besides its variants. */
export interface ProductFields {
  readonly title: string;
  readonly description: string;
  readonly categoryId: string | null;
  readonly taxCategory: string;
  readonly attributes: TextMap;
  readonly imageUrls: readonly string[];
}

export interface GivenVariant {
  readonly sku: string;
  readonly options: TextMap;
  readonly price?: { readonly currencyCode: string; readonly amountMinor: bigint } | undefined;
  readonly attributes: TextMap;
}

/**
 * Reads the variants of a request: prices of at least 0 in one known currency, SKUs that differ in more than case,
 * options that differ.
 * @param field the path of the list, in proto names
 * @throws AppError INVALID_REQUEST with all faulty fields at once
 */
export function parseVariants(given: readonly GivenVariant[], field: string): PricedVariants {
  const faults: FieldViolation[] = [];
  const skus = new Map<string, number>();
  const options = new Map<string, number>();
  let currency: string | undefined;

  const variants = given.map(({ sku, options: own, price, attributes }, index): Variant => {
    const path = `${field}[${String(index)}]`;
    const differs = (known: Map<string, number>, key: string, part: string, what: string) => {
      const other = known.get(key);
      if (other === undefined) known.set(key, index);
      else faults.push({ field: `${path}.${part}`, description: `${what} of ${field}[${String(other)}]` });
    };
    differs(skus, sku.toLowerCase(), "sku", "is, but for case, the SKU");
    differs(options, optionsKey(own), "options", "are the options");
    const money = parsePrice(price, `${path}.price`, faults);
    currency ??= money?.currency;
    if (money && money.currency !== currency) {
      faults.push({ field: `${path}.price.currency_code`, description: "must be the same for all variants" });
    }
    return { sku, options: own, priceMinor: money?.minor ?? 0n, attributes };
  });

  if (currency === undefined && faults.length === 0) faults.push({ field, description: "must have a variant" });
  if (currency === undefined || faults.length > 0) throw invalidRequest(...faults);
  return { currency, variants };
}

function parsePrice(price: GivenVariant["price"], field: string, faults: FieldViolation[]) {
  if (!price) {
    faults.push({ field, description: "is required" });
    return undefined;
  }
  try {
    return parseMoney(price, field, 0n);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    faults.push(...(error.details.fields ?? []));
    return undefined;
  }
}

function optionsKey(options: TextMap): string {
  return JSON.stringify(Object.entries(options).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

/** The columns of a product that follow from what it and its variants say. */
export function derivedColumns(
  product: Pick<ProductFields, "title" | "description" | "attributes">,
  of: PricedVariants,
) {
  const { title, description, attributes } = product;
  return {
    currency_code: of.currency,
    lowest_price_minor: of.variants.map(({ priceMinor }) => priceMinor).reduce((a, b) => (b < a ? b : a)),
    title_key: sortKey(title),
    search: searchVector({
      names: [title, ...of.variants.map(({ sku }) => sku)],
      attributes: [attributes, ...of.variants.flatMap((variant) => [variant.options, variant.attributes])].flatMap(
        (map) => Object.values(map),
      ),
      text: description,
    }),
  };
}
