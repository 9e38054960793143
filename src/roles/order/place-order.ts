import type { Kysely } from "kysely";
import type { Call } from "../../platform/call.ts";
import type { Clock } from "../../platform/clock.ts";
import { isConnectionLost } from "../../platform/database-errors.ts";
import { errors } from "../../platform/errors.ts";
import { newId } from "../../platform/id.ts";
import type { Claim } from "../../platform/idempotency.ts";
import { inProgress } from "../../platform/idempotency.ts";
import type { Money } from "../../platform/money.ts";
import { orderErrors } from "./errors.ts";
import type { OrderAnnouncements } from "./events.ts";
import type { Address, Order } from "./order.ts";
import { noReason } from "./order.ts";
import type { Offer, OrderPeers } from "./peers.ts";
import type { Charge, Line, Price, TaxRule } from "./pricing.ts";
import { priceOrder } from "./pricing.ts";
import type { OrderTables } from "./schema.ts";
import { findOrder, insertOrder } from "./store.ts";
import type { TaxTable } from "./tax.ts";
import { taxRate } from "./tax.ts";

/** Milliseconds after which a buyer may try again where too many orders wait. */
const OVERLOADED_RETRY_MS = 5_000;

/** What a buyer asks for, checked. */
export interface OrderDraft {
  readonly userId: string;
  readonly items: readonly { readonly sku: string; readonly quantity: number }[];
  readonly paymentMethodToken: string | undefined;
  readonly paymentMethodId: string | undefined;
  readonly shippingAddress: Address | undefined;
  readonly billingAddress: Address | undefined;
  readonly expectedTotal: Money | undefined;
  /** Granted or asked for by a person. */
  readonly charges: readonly Charge[];
}

export interface PlaceOrderContext {
  readonly db: Kysely<OrderTables>;
  readonly peers: OrderPeers;
  readonly taxes: TaxTable;
  readonly clock: Clock;
  readonly announce: OrderAnnouncements;
  /** Has what was recorded carried out. */
  readonly wake: () => void;
  /** Whether so many orders wait that no more should come. */
  readonly isOverloaded: () => boolean;
}

/**
 * Prices an order from the catalogue and records it. Undefined where the idempotency key is taken: then nothing was
 * recorded, and the key's row has the answer.
 *
 * @param respond the answer that a replay gets, in bytes.
 * @throws AppError SKU_UNAVAILABLE, USER_UNAVAILABLE, MIXED_CURRENCY, PRICE_CHANGED, AMOUNT_TOO_LARGE,
 * DISCOUNT_TOO_LARGE, OVERLOADED: nothing is recorded then.
 */
export async function placeOrder(
  context: PlaceOrderContext,
  call: Call,
  draft: OrderDraft,
  claim: Claim | undefined,
  respond: (order: Order) => Buffer,
): Promise<Order | undefined> {
  const { db, peers, announce, wake } = context;
  if (context.isOverloaded()) throw errors.OVERLOADED({ retryAfterMs: OVERLOADED_RETRY_MS });
  const skus = draft.items.map(({ sku }) => sku);
  const [buyer, offers] = await Promise.all([peers.findBuyer(call, draft.userId), peers.findOffers(call, skus)]);
  if (!buyer?.active) throw userUnavailable(draft.userId);
  const order = priced(context, draft, offersOf(skus, offers));
  const claimed = claim && { claim, response: respond(order) };
  try {
    const isRecorded = await insertOrder(db, order, claimed, announce);
    if (isRecorded) wake();
    return isRecorded ? order : undefined;
  } catch (error) {
    if (!isConnectionLost(error)) {
      if (claim) inProgress(error);
      throw error;
    }
    // The statement may have been committed before the connection broke: its id is ours alone, so reading tells.
    const recorded = await findOrder(db, order.id).catch(() => undefined);
    if (recorded) {
      announce.wake();
      wake();
      return recorded;
    }
    throw error;
  }
}

function userUnavailable(userId: string): Error {
  const description = "There is no such user, or it is deactivated.";
  return orderErrors.USER_UNAVAILABLE({
    metadata: { user_id: userId },
    preconditions: [{ type: "USER_UNAVAILABLE", subject: userId, description }],
  });
}

function offersOf(skus: readonly string[], offers: ReadonlyMap<string, Offer>): Offer[] {
  const missing = new Set(skus.filter((sku) => !offers.has(sku)));
  if (missing.size > 0) {
    throw orderErrors.SKU_UNAVAILABLE({
      metadata: { skus: [...missing].join(",") },
      preconditions: [...missing].map((sku) => ({
        type: "SKU_UNAVAILABLE",
        subject: sku,
        description: "There is no such SKU on sale.",
      })),
    });
  }
  return skus.flatMap((sku) => offers.get(sku) ?? []);
}

function priced({ taxes, clock }: PlaceOrderContext, draft: OrderDraft, offers: readonly Offer[]): Order {
  const currencies = [...new Set(offers.map(({ price }) => price.currency))];
  const currency = currencies[0] ?? "";
  if (currencies.length > 1) {
    throw orderErrors.MIXED_CURRENCY({
      metadata: { currencies: currencies.join(",") },
      preconditions: currencies.map((code) => ({
        type: "MIXED_CURRENCY",
        subject: code,
        description: `An order has one currency; these items have ${currencies.join(" and ")}.`,
      })),
    });
  }
  const lines = offers.map(({ sku, productId, title, options, price, taxCategory }, index): Line => {
    const quantity = draft.items[index]?.quantity ?? 0;
    return { number: index + 1, sku, productId, title, options, unitMinor: price.minor, quantity, taxCategory };
  });
  const country = draft.shippingAddress?.countryCode ?? taxes.country;
  const rule = { inclusive: taxes.inclusive, rateOf: (category: string) => taxRate(taxes, country, category) };
  const price = priceOf(lines, draft.charges, rule);
  checkExpected(draft.expectedTotal, { currency, minor: price.totalMinor });
  const now = clock.now();
  return {
    id: newId(),
    userId: draft.userId,
    state: "PENDING",
    why: noReason,
    currency,
    ...price,
    paymentMethodToken: draft.paymentMethodToken,
    paymentMethodId: draft.paymentMethodId,
    shippingAddress: draft.shippingAddress,
    billingAddress: draft.billingAddress ?? draft.shippingAddress,
    nextAction: undefined,
    expiresAt: undefined,
    cancelRequested: false,
    refunds: [],
    refundsMinor: 0n,
    version: 1,
    createdAt: now,
    updatedAt: now,
  };
}

function priceOf(lines: readonly Line[], charges: readonly Charge[], rule: TaxRule): Price {
  try {
    return priceOrder(lines, charges, rule);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw orderErrors.DISCOUNT_TOO_LARGE({
      preconditions: [{ type: "DISCOUNT_TOO_LARGE", subject: "adjustments", description: error.message }],
      cause: error,
    });
  }
}

function checkExpected(expected: Money | undefined, total: Money): void {
  if (!expected || (expected.currency === total.currency && expected.minor === total.minor)) return;
  const totals = { total_minor: String(total.minor), currency_code: total.currency };
  throw orderErrors.PRICE_CHANGED({
    message: `The total is ${String(total.minor)} ${total.currency} (minor units), not the expected one.`,
    metadata: totals,
    preconditions: [{ type: "PRICE_CHANGED", subject: "expected_total", description: "The total has changed." }],
  });
}
