import { errors, invalidRequest } from "./errors.ts";

/** An amount in integer minor units of an ISO 4217 currency. */
export interface Money {
  readonly currency: string;
  /** 1290n is 12.90 EUR, and 1290 JPY. */
  readonly minor: bigint;
}

const most = 2n ** 63n - 1n;
const currencies: ReadonlySet<string> = new Set(Intl.supportedValuesOf("currency"));

/**
 * Reads a money field of a request.
 * @throws AppError INVALID_REQUEST where the currency is unknown, or the amount is below `least`.
 */
export function parseMoney(
  value: { readonly currencyCode: string; readonly amountMinor: bigint },
  field: string,
  least?: bigint,
): Money {
  if (!currencies.has(value.currencyCode)) {
    throw invalidRequest({ field: `${field}.currency_code`, description: "is not a currency of ISO 4217" });
  }
  if (least !== undefined && value.amountMinor < least) {
    throw invalidRequest({ field: `${field}.amount_minor`, description: `must be at least ${String(least)}` });
  }
  return { currency: value.currencyCode, minor: value.amountMinor };
}

/**
 * Decimals of the currencies of ISO 4217 that do not have two. Not those of Intl: where small coins are gone it has none,
 * HUF and IDR are among these, and would make a hundred times the amount of what we are told in minor units.
 */
const DECIMALS: ReadonlyMap<string, number> = new Map([
  ..."BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(" ").map((code) => [code, 0] as const),
  ..."BHD IQD JOD KWD LYD OMR TND".split(" ").map((code) => [code, 3] as const),
  ..."CLF UYW".split(" ").map((code) => [code, 4] as const),
]);

/** How many decimals amounts of a currency are written with. */
export function decimalsOf(currency: string): number {
  return DECIMALS.get(currency) ?? 2;
}

/** An amount as a decimal number, exact: `12.90`. Minor units never become a float. */
export function decimalText({ currency, minor }: Money): string {
  const digits = decimalsOf(currency);
  const sign = minor < 0n ? "-" : "";
  const units = String(minor < 0n ? -minor : minor).padStart(digits + 1, "0");
  const whole = units.slice(0, units.length - digits);
  return digits === 0 ? `${sign}${whole}` : `${sign}${whole}.${units.slice(-digits)}`;
}

/** An amount in words that need no locale: `12.90 EUR`. */
export function moneyText(money: Money): string {
  return `${decimalText(money)} ${money.currency}`;
}

/** The message form of an amount. */
export function moneyToProto(money: Money): { currencyCode: string; amountMinor: bigint } {
  return { currencyCode: money.currency, amountMinor: money.minor };
}

/** @throws AppError AMOUNT_TOO_LARGE where the amount does not fit 64 bits. */
export function checkedMinor(minor: bigint): bigint {
  if (minor > most || minor < -most) throw errors.AMOUNT_TOO_LARGE();
  return minor;
}

/** The exact sum. @throws AppError AMOUNT_TOO_LARGE */
export function sumMinor(amounts: Iterable<bigint>): bigint {
  let sum = 0n;
  for (const amount of amounts) sum += amount;
  return checkedMinor(sum);
}

/**
 * Splits an amount over weights so that the parts sum to it exactly: each part is its share rounded towards zero, and
 * the units left over go to the largest remainders, the first of equals. Equal shares where all weights are 0.
 * @throws RangeError on no weights or a negative one.
 */
export function splitByLargestRemainder(amount: bigint, weights: readonly bigint[]): bigint[] {
  if (weights.length === 0 || weights.some((weight) => weight < 0n)) throw new RangeError("weights must be 0 or more");
  const given = weights.reduce((sum, weight) => sum + weight, 0n);
  const shares = given === 0n ? weights.map(() => 1n) : weights;
  const total = given === 0n ? BigInt(weights.length) : given;
  const size = amount < 0n ? -amount : amount;
  const parts = shares.map((share) => (size * share) / total);
  const rest = shares.map((share, index) => ({ index, remainder: (size * share) % total }));
  rest.sort((a, b) => (a.remainder === b.remainder ? a.index - b.index : a.remainder > b.remainder ? -1 : 1));
  let left = size - parts.reduce((sum, part) => sum + part, 0n);
  for (const { index } of rest) {
    if (left === 0n) break;
    parts[index] = (parts[index] ?? 0n) + 1n;
    left -= 1n;
  }
  return amount < 0n ? parts.map((part) => -part) : parts;
}

/** A share in basis points (1900 is 19 %), rounded half away from zero to a minor unit. */
export function basisPoints(minor: bigint, points: number): bigint {
  const scaled = minor * BigInt(points);
  const half = scaled < 0n ? -5_000n : 5_000n;
  return (scaled + half) / 10_000n;
}
