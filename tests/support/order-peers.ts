import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { InventoryService, ReservationState } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { PaymentService, PaymentState, RefundState } from "#gen/commerce/payment/v1/payment_pb.ts";
import type { ServedService } from "../../src/platform/call.ts";
import { AppError, errors } from "../../src/platform/errors.ts";
import { newId } from "../../src/platform/id.ts";
import { peer } from "./role.ts";

/** What a checkout asks its peers to do. */
export type Operation = "reserve" | "commit" | "release" | "return" | "authorize" | "capture" | "void" | "refund";

/** What happens at one call beside what the peer does. */
export interface Trouble {
  /** Before the effect; what it throws is answered, and there is none. */
  readonly before?: () => Promise<void> | void;
  /** After the effect; what it throws is answered although there was one. */
  readonly after?: () => Promise<void> | void;
}

/** The call never arrives. */
export const unreachable: Trouble = {
  before() {
    throw errors.OVERLOADED({ retryAfterMs: 10 });
  },
};
/** The answer is lost. */
export const lost: Trouble = {
  after() {
    throw errors.OVERLOADED({ retryAfterMs: 10 });
  },
};

interface Reservation {
  state: "HELD" | "COMMITTED" | "RELEASED" | "EXPIRED";
  readonly units: Map<string, bigint>;
  readonly returned: Map<string, bigint>;
  readonly returns: Set<string>;
}

interface Refund {
  readonly amount: bigint;
  state: "PENDING" | "SUCCEEDED" | "FAILED";
}

interface Payment {
  readonly id: string;
  state: "PENDING" | "REQUIRES_ACTION" | "AUTHORIZED" | "CAPTURED" | "DECLINED" | "VOIDED";
  readonly amount: bigint;
  readonly token: string;
  captured: bigint;
  captures: "none" | "pending" | "done" | "failed";
  readonly refunds: Map<string, Refund>;
}

export interface PeerCall {
  readonly operation: Operation;
  readonly orderId: string;
  /** The refund or the return; empty for the others. */
  readonly id: string;
  /** Whether it has been answered, or would have been where nobody waited any more. */
  ended: boolean;
  /** Aborts when the caller does not wait any more. */
  readonly signal: AbortSignal;
}

/**
 * Inventory and payment as their protos say, in memory: holds, tombstones, refusals, each operation once. The payment
 * method's token says what the provider does: see {@link authorize}. Trouble is added call by call.
 */
export class PeerModel {
  /** Units on hand; SKUs that are not here have plenty. */
  readonly stock = new Map<string, bigint>();
  readonly reservations = new Map<string, Reservation>();
  readonly payments = new Map<string, Payment>();
  readonly calls: PeerCall[] = [];
  /** Operations that nobody answers, of any order. */
  readonly down = new Set<Operation>();
  readonly #trouble = new Map<string, Trouble[]>();
  readonly #always: ((operation: Operation, orderId: string) => Trouble | undefined)[] = [];

  /** Has the next calls of an operation of an order go wrong, one after the other. */
  trouble(operation: Operation, orderId: string, ...troubles: Trouble[]): void {
    const key = `${operation} ${orderId}`;
    this.#trouble.set(key, [...(this.#trouble.get(key) ?? []), ...troubles]);
  }

  /** Has any call go wrong that is chosen so. */
  disturb(choose: (operation: Operation, orderId: string) => Trouble | undefined): void {
    this.#always.push(choose);
  }

  calm(): void {
    this.#always.length = 0;
    this.#trouble.clear();
    this.down.clear();
  }

  /** The operations of an order so far, answered or not. */
  asked(orderId: string): Operation[] {
    return this.calls.filter((call) => call.orderId === orderId).map(({ operation }) => operation);
  }

  /** Units that an order holds or has taken and not given back. */
  unitsOf(orderId: string): bigint {
    const reservation = this.reservations.get(orderId);
    if (!reservation || (reservation.state !== "HELD" && reservation.state !== "COMMITTED")) return 0n;
    let units = 0n;
    for (const [sku, quantity] of reservation.units) units += quantity - (reservation.returned.get(sku) ?? 0n);
    return units;
  }

  /** Money of an order that is taken and not paid back, in minor units. */
  moneyOf(orderId: string): bigint {
    const payment = this.payments.get(orderId);
    if (!payment) return 0n;
    let minor = payment.captured;
    for (const { amount, state } of payment.refunds.values()) if (state === "SUCCEEDED") minor -= amount;
    return minor;
  }

  /** The provider tells the outcome of what was pending, or the buyer acts. */
  settle(orderId: string, state: Payment["state"]): void {
    const payment = this.#payment(orderId);
    if (payment.state === "VOIDED") return;
    payment.state = state;
    if (state === "CAPTURED") Object.assign(payment, { captured: payment.amount, captures: "done" });
  }

  settleRefunds(orderId: string, state: "SUCCEEDED" | "FAILED"): void {
    for (const refund of this.#payment(orderId).refunds.values()) if (refund.state === "PENDING") refund.state = state;
  }

  /** The hold ends by itself. */
  expire(orderId: string): void {
    const reservation = this.reservations.get(orderId);
    if (reservation?.state !== "HELD") throw new Error("nothing is held");
    this.#giveBack(reservation);
    reservation.state = "EXPIRED";
  }

  readonly services: readonly ServedService[] = [
    peer(InventoryService, {
      reserveStock: ({ orderId, lines, holdSeconds }, { signal }) =>
        this.#answer("reserve", orderId, "", signal, () => {
          this.#reserve(orderId, lines);
          return this.#reservation(orderId, holdSeconds);
        }),
      commitReservation: ({ orderId }, { signal }) =>
        this.#answer("commit", orderId, "", signal, () => {
          this.#commit(orderId);
          return this.#reservation(orderId);
        }),
      releaseReservation: ({ orderId }, { signal }) =>
        this.#answer("release", orderId, "", signal, () => {
          this.#release(orderId);
          return this.#reservation(orderId);
        }),
      returnStock: ({ orderId, returnId, lines }, { signal }) =>
        this.#answer("return", orderId, returnId, signal, () => {
          this.#return(orderId, returnId, lines);
          return this.#reservation(orderId);
        }),
    }),
    peer(PaymentService, {
      authorizePayment: ({ orderId, amount, paymentMethodToken }, { signal }) =>
        this.#answer("authorize", orderId, "", signal, () => {
          this.#authorize(orderId, amount?.amountMinor ?? 0n, paymentMethodToken);
          return this.#paymentMessage(orderId);
        }),
      capturePayment: ({ orderId }, { signal }) =>
        this.#answer("capture", orderId, "", signal, () => {
          this.#capture(orderId);
          return this.#paymentMessage(orderId);
        }),
      voidPayment: ({ orderId }, { signal }) =>
        this.#answer("void", orderId, "", signal, () => {
          this.#void(orderId);
          return this.#paymentMessage(orderId);
        }),
      refundPayment: ({ orderId, refundId, amount }, { signal }) =>
        this.#answer("refund", orderId, refundId, signal, () => {
          const refund = this.#refund(orderId, refundId, amount?.amountMinor ?? 0n);
          const money = { currencyCode: "EUR", amountMinor: refund.amount };
          const state = RefundState[refund.state];
          const failureCode = refund.state === "FAILED" ? "refused_by_bank" : "";
          return { refund: { id: refundId, amount: money, state, failureCode } } as never;
        }),
    }),
  ];

  /** Who gave up waiting is not there any more: the call still has its effect. */
  async #answer<T>(operation: Operation, orderId: string, id: string, signal: AbortSignal, work: () => T): Promise<T> {
    const noted: PeerCall = { operation, orderId, id, ended: false, signal };
    this.calls.push(noted);
    const trouble =
      this.#trouble.get(`${operation} ${orderId}`)?.shift() ??
      this.#always.map((choose) => choose(operation, orderId)).find((chosen) => chosen !== undefined);
    try {
      if (this.down.has(operation)) throw errors.OVERLOADED({ retryAfterMs: 10 });
      await trouble?.before?.();
      const answer = attempted(work);
      await trouble?.after?.();
      return answer();
    } finally {
      noted.ended = true;
    }
  }

  #reserve(orderId: string, lines: readonly { sku: string; quantity: bigint }[]): void {
    const known = this.reservations.get(orderId);
    if (known?.state === "RELEASED") throw refusal("RESERVATION_RELEASED");
    if (known) return;
    const units = new Map<string, bigint>();
    for (const { sku, quantity } of lines) units.set(sku, (units.get(sku) ?? 0n) + quantity);
    this.#take(units);
    this.reservations.set(orderId, { state: "HELD", units, returned: new Map(), returns: new Set() });
  }

  #take(units: ReadonlyMap<string, bigint>): void {
    for (const [sku, quantity] of units) {
      const available = this.stock.get(sku);
      if (available === undefined || available >= quantity) continue;
      throw refusal("OUT_OF_STOCK", { sku, requested: String(quantity), available: String(available) });
    }
    for (const [sku, quantity] of units) this.#add(sku, -quantity);
  }

  #add(sku: string, units: bigint): void {
    const available = this.stock.get(sku);
    if (available !== undefined) this.stock.set(sku, available + units);
  }

  #giveBack(reservation: Reservation): void {
    for (const [sku, quantity] of reservation.units) this.#add(sku, quantity - (reservation.returned.get(sku) ?? 0n));
  }

  #commit(orderId: string): void {
    const reservation = this.reservations.get(orderId);
    if (!reservation) throw errors.NOT_FOUND();
    if (reservation.state === "RELEASED") throw refusal("RESERVATION_RELEASED");
    if (reservation.state === "EXPIRED") this.#take(reservation.units);
    reservation.state = "COMMITTED";
  }

  #release(orderId: string): void {
    const reservation = this.reservations.get(orderId);
    if (!reservation) {
      this.reservations.set(orderId, { state: "RELEASED", units: new Map(), returned: new Map(), returns: new Set() });
      return;
    }
    if (reservation.state === "HELD" || reservation.state === "COMMITTED") this.#giveBack(reservation);
    reservation.state = "RELEASED";
  }

  #return(orderId: string, returnId: string, lines: readonly { sku: string; quantity: bigint }[]): void {
    const reservation = this.reservations.get(orderId);
    if (reservation?.state !== "COMMITTED") throw errors.NOT_FOUND();
    if (reservation.returns.has(returnId)) return;
    for (const { sku, quantity } of lines) {
      const returned = (reservation.returned.get(sku) ?? 0n) + quantity;
      if (returned > (reservation.units.get(sku) ?? 0n)) throw refusal("RETURN_TOO_LARGE", { sku });
      reservation.returned.set(sku, returned);
      this.#add(sku, quantity);
    }
    reservation.returns.add(returnId);
  }

  /** The provider, by the token of the payment method. */
  #authorize(orderId: string, amount: bigint, token: string): void {
    const known = this.payments.get(orderId);
    if (!known) {
      if (token === "tok_invalid") throw refusal("PAYMENT_METHOD_INVALID");
      const state = {
        tok_declined: "DECLINED",
        tok_requires_action: "REQUIRES_ACTION",
        tok_pending: "PENDING",
      } as const;
      const made = (state as Readonly<Record<string, Payment["state"] | undefined>>)[token] ?? "AUTHORIZED";
      this.payments.set(orderId, newPayment(made, amount, token));
    }
    const payment = this.#payment(orderId);
    if (payment.state === "VOIDED") throw refusal("PAYMENT_VOIDED");
    if (payment.amount !== amount) throw refusal("PAYMENT_MISMATCH");
    if (payment.state === "DECLINED") throw refusal("CARD_DECLINED", { decline_code: "card_declined" });
  }

  #capture(orderId: string): void {
    const payment = this.#payment(orderId);
    if (payment.captures === "failed") throw refusal("CAPTURE_FAILED", { failure_code: "capture_refused" });
    if (payment.captures !== "none") return;
    if (payment.state !== "AUTHORIZED") throw refusal("WRONG_PAYMENT_STATE", { state: payment.state });
    if (payment.token === "tok_capture_refused") {
      payment.captures = "failed";
      throw refusal("CAPTURE_FAILED", { failure_code: "capture_refused" });
    }
    if (payment.token === "tok_capture_pending") payment.captures = "pending";
    else Object.assign(payment, { captures: "done", state: "CAPTURED", captured: payment.amount });
  }

  #void(orderId: string): void {
    const payment = this.payments.get(orderId);
    if (!payment) this.payments.set(orderId, newPayment("VOIDED", 0n, ""));
    else if (payment.captures === "pending" || payment.captures === "done") {
      throw refusal("WRONG_PAYMENT_STATE", { state: payment.state });
    } else if (payment.state !== "DECLINED") payment.state = "VOIDED";
  }

  #refund(orderId: string, refundId: string, amount: bigint): Refund {
    const payment = this.#payment(orderId);
    const known = payment.refunds.get(refundId);
    if (known && known.amount !== amount) throw refusal("PAYMENT_MISMATCH");
    if (known) return known;
    if (payment.state !== "CAPTURED") throw refusal("WRONG_PAYMENT_STATE", { state: payment.state });
    let left = payment.captured;
    for (const refund of payment.refunds.values()) if (refund.state !== "FAILED") left -= refund.amount;
    if (amount > left) throw refusal("REFUND_TOO_LARGE", { refundable_minor: String(left) }, "out_of_range");
    const states = { tok_refund_refused: "FAILED", tok_refund_pending: "PENDING" } as const;
    const state = (states as Readonly<Record<string, "FAILED" | "PENDING" | undefined>>)[payment.token] ?? "SUCCEEDED";
    const refund: Refund = { amount, state };
    payment.refunds.set(refundId, refund);
    return refund;
  }

  #payment(orderId: string): Payment {
    const payment = this.payments.get(orderId);
    if (!payment) throw errors.NOT_FOUND();
    return payment;
  }

  #reservation(orderId: string, holdSeconds = 0) {
    const reservation = this.reservations.get(orderId);
    const expiresAt = timestampFromDate(new Date(Date.now() + holdSeconds * 1_000));
    return { reservation: { orderId, state: ReservationState[reservation?.state ?? "RELEASED"], expiresAt } } as never;
  }

  #paymentMessage(orderId: string) {
    const { id, state, captures } = this.#payment(orderId);
    const redirectUrl = state === "REQUIRES_ACTION" ? `https://bank.test/${orderId}` : "";
    return {
      payment: { id, orderId, state: PaymentState[state], redirectUrl, capturePending: captures === "pending" },
    } as never;
  }
}

/** Does work, and keeps its end, which may be an error, for later. */
function attempted<T>(work: () => T): () => T {
  try {
    const result = work();
    return () => result;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

function newPayment(state: Payment["state"], amount: bigint, token: string): Payment {
  return { id: newId(), state, amount, token, captured: 0n, captures: "none", refunds: new Map() };
}

function refusal(
  reason: string,
  metadata: Readonly<Record<string, string>> = {},
  kind: AppError["kind"] = "failed_precondition",
) {
  return new AppError(kind, reason, reason, { metadata });
}
