import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { AddressSchema } from "#gen/commerce/common/v1/address_pb.ts";
import type { OrderRefundSchema, OrderSchema, OrderTransitionSchema } from "#gen/commerce/order/v1/order_pb.ts";
import { AdjustmentKind, OrderRefundState, OrderState, OrderStep } from "#gen/commerce/order/v1/order_pb.ts";
import { moneyToProto, sumMinor } from "../../platform/money.ts";
import type { Address, Order, OrderTransition, Refund } from "./order.ts";

/** An order as every method answers it. */
export function orderToProto(order: Order): MessageInitShape<typeof OrderSchema> {
  const money = (minor: bigint) => moneyToProto({ currency: order.currency, minor });
  return {
    id: order.id,
    userId: order.userId,
    state: OrderState[order.state],
    reason: order.why.reason,
    reasonMetadata: order.why.metadata,
    lines: order.lines.map(({ number, sku, productId, title, options, unitMinor, quantity, amountMinor }) => ({
      number,
      sku,
      productId,
      title,
      options,
      unitPrice: money(unitMinor),
      quantity,
      amount: money(amountMinor),
    })),
    adjustments: order.adjustments.map(({ kind, lineNumber, label, minor, included, source }) => ({
      kind: AdjustmentKind[kind],
      lineNumber,
      label,
      amount: money(minor),
      included,
      source,
    })),
    itemsAmount: money(order.itemsMinor),
    totalAmount: money(order.totalMinor),
    ...(order.shippingAddress && { shippingAddress: addressToProto(order.shippingAddress) }),
    ...(order.billingAddress && { billingAddress: addressToProto(order.billingAddress) }),
    ...(order.nextAction && { nextAction: order.nextAction }),
    ...(order.expiresAt && { expiresAt: timestampFromDate(order.expiresAt) }),
    version: order.version,
    cancelRequested: order.cancelRequested,
    refunds: order.refunds.map((refund) => refundToProto(refund, order.currency)),
    refundedAmount: money(
      sumMinor(order.refunds.filter(({ state }) => state === "SUCCEEDED").map(({ minor }) => minor)),
    ),
    createdAt: timestampFromDate(order.createdAt),
    updatedAt: timestampFromDate(order.updatedAt),
  };
}

function addressToProto(address: Address): MessageInitShape<typeof AddressSchema> {
  return { ...address, lines: [...address.lines] };
}

export function refundToProto(refund: Refund, currency: string): MessageInitShape<typeof OrderRefundSchema> {
  const { id, minor, state, reason, lines, restock, failureCode, createdAt } = refund;
  return {
    id,
    amount: moneyToProto({ currency, minor }),
    state: OrderRefundState[state],
    reason,
    lines: lines.map(({ number, quantity }) => ({ number, quantity })),
    restock,
    failureCode,
    createdAt: timestampFromDate(createdAt),
  };
}

export function eventToProto(event: OrderTransition): MessageInitShape<typeof OrderTransitionSchema> {
  const { position, state, why, occurredAt, step, message } = event;
  return {
    position,
    state: OrderState[state],
    reason: why.reason,
    reasonMetadata: why.metadata,
    occurredAt: timestampFromDate(occurredAt),
    step: OrderStep[step],
    message,
  };
}
