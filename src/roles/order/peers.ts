import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { CallOptions } from "@connectrpc/connect";
import { InventoryService } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import type { Payment, Refund as RefundMessage } from "#gen/commerce/payment/v1/payment_pb.ts";
import { PaymentService, PaymentState, RefundState } from "#gen/commerce/payment/v1/payment_pb.ts";
import { ProductService, ProductState } from "#gen/commerce/product/v1/product_pb.ts";
import { UserService, UserState } from "#gen/commerce/user/v1/user_pb.ts";
import type { Call } from "../../platform/call.ts";
import type { Peers } from "../../platform/clients/clients.ts";
import { serving } from "../../platform/clients/serving.ts";
import { PeerError } from "../../platform/errors.ts";
import type { Logger } from "../../platform/logger.ts";
import type { Money } from "../../platform/money.ts";
import { moneyToProto } from "../../platform/money.ts";
import type { Order, Refund } from "./order.ts";
import type { Answer } from "./saga.ts";

/** What an order needs to know of its buyer. */
export interface Buyer {
  readonly id: string;
  readonly active: boolean;
}

/** What the catalogue says of a SKU that is on sale. */
export interface Offer {
  readonly sku: string;
  readonly productId: string;
  readonly title: string;
  readonly options: Readonly<Record<string, string>>;
  readonly price: Money;
  readonly taxCategory: string;
}

/** What recording an order needs of others. */
export interface OrderPeers {
  /** Undefined where there is no such user. */
  findBuyer(call: Call, userId: string): Promise<Buyer | undefined>;
  /** The offers of those SKUs that are on sale, by SKU. */
  findOffers(call: Call, skus: readonly string[]): Promise<ReadonlyMap<string, Offer>>;
}

export function orderPeers(peers: Peers): OrderPeers {
  const users = peers.client(UserService);
  const products = peers.client(ProductService);
  return {
    async findBuyer(call, userId) {
      const response = await users.batchGetUsers({ ids: [userId] }, serving(call));
      const user = response.users[0];
      return user && { id: user.id, active: user.state === UserState.ACTIVE };
    },

    async findOffers(call, skus) {
      const wanted = new Set(skus);
      const response = await products.batchGetProducts({ skus: [...wanted] }, serving(call));
      const offers = response.products
        .filter((product) => product.state === ProductState.ACTIVE)
        .flatMap((product) =>
          product.variants.flatMap(({ sku, options, price }): Offer[] => {
            if (!wanted.has(sku) || !price) return [];
            const { id: productId, title, taxCategory } = product;
            const money = { currency: price.currencyCode, minor: price.amountMinor };
            return [{ sku, productId, title, options, price: money, taxCategory }];
          }),
        );
      return new Map(offers.map((offer) => [offer.sku, offer]));
    },
  };
}

/** One attempt of a step: how long it may take, and what breaks it off. */
export interface Attempt extends Pick<CallOptions, "timeoutMs" | "signal"> {
  readonly log: Logger;
}

/** What a checkout asks of others. Each is asked again with the same ids; none of them rejects. */
export interface CheckoutPeers {
  reserve(attempt: Attempt, order: Order, holdSeconds: number): Promise<Answer>;
  authorize(attempt: Attempt, order: Order): Promise<Answer>;
  commit(attempt: Attempt, order: Order): Promise<Answer>;
  capture(attempt: Attempt, order: Order): Promise<Answer>;
  void(attempt: Attempt, order: Order): Promise<Answer>;
  release(attempt: Attempt, order: Order): Promise<Answer>;
  refund(attempt: Attempt, order: Order, refund: Refund): Promise<Answer>;
  return(attempt: Attempt, order: Order, refund: Refund): Promise<Answer>;
}

/** What a peer refuses for good, and the order's reason for it. */
type Refusals = Readonly<Record<string, string>>;

const authorizeRefusals = {
  CARD_DECLINED: "CARD_DECLINED",
  PAYMENT_METHOD_INVALID: "PAYMENT_METHOD_INVALID",
  PAYMENT_VOIDED: "PAYMENT_FAILED",
} as const;
const captureRefusals = { CAPTURE_FAILED: "PAYMENT_FAILED" } as const;
const refundRefusals = {
  REFUND_TOO_LARGE: "REFUND_TOO_LARGE",
  PAYMENT_MISMATCH: "PAYMENT_MISMATCH",
  WRONG_PAYMENT_STATE: "WRONG_PAYMENT_STATE",
  NOT_FOUND: "NOT_FOUND",
} as const;
const returnRefusals = {
  RETURN_TOO_LARGE: "RETURN_TOO_LARGE",
  RESERVATION_RELEASED: "RESERVATION_RELEASED",
  NOT_FOUND: "NOT_FOUND",
} as const;

export function checkoutPeers(peers: Peers): CheckoutPeers {
  const inventory = peers.client(InventoryService);
  const payments = peers.client(PaymentService);
  return {
    reserve: (attempt, order, holdSeconds) =>
      answered(attempt, { OUT_OF_STOCK: "OUT_OF_STOCK" }, async () => {
        const lines = order.lines.map(({ sku, quantity }) => ({ sku, quantity: BigInt(quantity) }));
        const { reservation } = await inventory.reserveStock({ orderId: order.id, lines, holdSeconds }, attempt);
        return { case: "done", until: reservation?.expiresAt && timestampDate(reservation.expiresAt) };
      }),

    authorize: (attempt, order) =>
      answered(attempt, authorizeRefusals, async () => {
        const { payment } = await payments.authorizePayment(
          {
            orderId: order.id,
            userId: order.userId,
            amount: moneyToProto({ currency: order.currency, minor: order.totalMinor }),
            paymentMethodToken: order.paymentMethodToken ?? "",
            paymentMethodId: order.paymentMethodId ?? "",
          },
          attempt,
        );
        return authorized(payment);
      }),

    commit: (attempt, { id }) =>
      answered(attempt, { OUT_OF_STOCK: "OUT_OF_STOCK" }, async () => {
        await inventory.commitReservation({ orderId: id }, attempt);
        return { case: "done" };
      }),

    capture: (attempt, { id }) =>
      answered(attempt, captureRefusals, async () => {
        const { payment } = await payments.capturePayment({ orderId: id }, attempt);
        return payment?.state === PaymentState.CAPTURED ? { case: "done" } : { case: "pending" };
      }),

    void: (attempt, { id }) =>
      answered(attempt, {}, async () => {
        await payments.voidPayment({ orderId: id }, attempt);
        return { case: "done" };
      }),

    release: (attempt, { id }) =>
      answered(attempt, {}, async () => {
        await inventory.releaseReservation({ orderId: id }, attempt);
        return { case: "done" };
      }),

    refund: (attempt, { id: orderId, currency }, { id: refundId, minor, reason }) =>
      answered(attempt, refundRefusals, async () => {
        const amount = moneyToProto({ currency, minor });
        const { refund } = await payments.refundPayment({ orderId, refundId, amount, reason }, attempt);
        return refunded(refund);
      }),

    return: (attempt, order, refund) =>
      answered(attempt, returnRefusals, async () => {
        const lines = refund.lines.map(({ number, quantity }) => {
          const sku = order.lines.find((line) => line.number === number)?.sku ?? "";
          return { sku, quantity: BigInt(quantity) };
        });
        await inventory.returnStock({ orderId: order.id, returnId: refund.id, lines }, attempt);
        return { case: "done" };
      }),
  };
}

/** The answer of a peer. Only a refusal that is expected had no effect; of any other failure that is not known. */
async function answered({ log }: Attempt, refusals: Refusals, ask: () => Promise<Answer>): Promise<Answer> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof PeerError)) {
      log.error({ err: error }, "a step of an order failed");
      return { case: "unknown" };
    }
    const { kind, reason, details } = error.error;
    const ours = Object.hasOwn(refusals, reason) ? refusals[reason] : undefined;
    if (ours !== undefined) return { case: "refused", why: { reason: ours, metadata: details.metadata ?? {} } };
    const isPassing = kind === "unavailable" || kind === "deadline_exceeded" || kind === "canceled";
    log[isPassing ? "info" : "warn"]({ err: error }, "a step of an order was not answered");
    return { case: "unknown" };
  }
}

function authorized(payment: Payment | undefined): Answer {
  if (!payment) return { case: "pending" };
  switch (payment.state) {
    case PaymentState.AUTHORIZED:
    case PaymentState.CAPTURED:
      return { case: "done" };
    case PaymentState.REQUIRES_ACTION:
      return { case: "action", redirectUrl: payment.redirectUrl };
    case PaymentState.DECLINED:
      return { case: "refused", why: { reason: "CARD_DECLINED", metadata: { decline_code: payment.declineCode } } };
    case PaymentState.VOIDED:
      return { case: "refused", why: { reason: "PAYMENT_FAILED", metadata: {} } };
    default:
      return { case: "pending" };
  }
}

function refunded(refund: RefundMessage | undefined): Answer {
  if (!refund) return { case: "pending" };
  switch (refund.state) {
    case RefundState.SUCCEEDED:
      return { case: "done" };
    case RefundState.FAILED:
      return { case: "refused", why: { reason: "REFUND_FAILED", metadata: { failure_code: refund.failureCode } } };
    default:
      return { case: "pending" };
  }
}
