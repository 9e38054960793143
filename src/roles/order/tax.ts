import { basisPoints } from "../../platform/money.ts";

/** Tax rates by country and tax category, in basis points: 1900 is 19 %. */
export interface TaxTable {
  /** Prices contain the tax: it is shown and not added. */
  readonly inclusive: boolean;
  /** The country (ISO 3166-1 alpha-2) of an order without a shipping address. */
  readonly country: string;
  readonly rates: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

export interface TaxRate {
  readonly points: number;
  readonly label: string;
  readonly source: string;
}

/** The rates of the sample shop: prices without tax, sold from Germany. A real shop sets TAX_TABLE. */
export const sampleTaxTable: TaxTable = {
  inclusive: false,
  country: "DE",
  rates: {
    AT: { standard: 2000, reduced: 1000 },
    BE: { standard: 2100, reduced: 600 },
    CH: { standard: 810, reduced: 260 },
    DE: { standard: 1900, reduced: 700 },
    ES: { standard: 2100, reduced: 1000 },
    FR: { standard: 2000, reduced: 550 },
    GB: { standard: 2000, reduced: 500 },
    IT: { standard: 2200, reduced: 1000 },
    NL: { standard: 2100, reduced: 900 },
    PL: { standard: 2300, reduced: 800 },
  },
};

/**
 * The rate of a tax category in a country; the standard one where the country has no such category. Undefined where
 * the table does not have the country, or the rate is 0: no tax is charged there.
 */
export function taxRate(table: TaxTable, country: string, category: string): TaxRate | undefined {
  // The names come from outside: nothing but the table's own keys counts.
  const rates = Object.hasOwn(table.rates, country) ? table.rates[country] : undefined;
  if (!rates) return undefined;
  const named = Object.hasOwn(rates, category) ? category : "standard";
  const points = rates[named];
  if (points === undefined || points === 0) return undefined;
  return { points, label: `VAT ${String(points / 100)} %`, source: `tax:${country}:${named}` };
}

/** The tax on an amount in minor units: on top of it, or contained in it. Rounded half away from zero. */
export function taxOn(minor: bigint, rate: TaxRate, inclusive: boolean): bigint {
  if (!inclusive) return basisPoints(minor, rate.points);
  const whole = 10_000n + BigInt(rate.points);
  return minor - (minor * 10_000n + whole / 2n) / whole;
}

/** Reads a tax table from JSON. @throws Error that says what is wrong with it. */
export function parseTaxTable(text: string): TaxTable {
  const value: unknown = JSON.parse(text);
  if (!isRecord(value)) throw new Error("must be an object");
  const { inclusive, country, rates } = value;
  if (typeof inclusive !== "boolean") throw new Error("inclusive must be true or false");
  if (typeof country !== "string" || !isCountry(country)) throw new Error("country must be a code such as DE");
  if (!isRecord(rates)) throw new Error("rates must map countries to rates");
  const parsed = Object.entries(rates).map(([code, ofCountry]) => {
    if (!isCountry(code)) throw new Error(`rates: ${code} is not a country code such as DE`);
    if (!isRecord(ofCountry)) throw new Error(`rates.${code} must map tax categories to basis points`);
    const points = Object.entries(ofCountry).map(([category, rate]) => {
      if (typeof rate !== "number" || !Number.isInteger(rate) || rate < 0 || rate > 10_000) {
        throw new Error(`rates.${code}.${category} must be basis points from 0 to 10000`);
      }
      return [category, rate] as const;
    });
    return [code, Object.fromEntries(points)] as const;
  });
  return { inclusive, country, rates: Object.fromEntries(parsed) };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCountry(code: string): boolean {
  return /^[A-Z]{2}$/.test(code);
}
