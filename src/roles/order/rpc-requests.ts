import type { Address as AddressMessage } from "#gen/commerce/common/v1/address_pb.ts";
import type { CreateOrderRequest, ManualAdjustment, RefundOrderRequest } from "#gen/commerce/order/v1/order_pb.ts";
import { AdjustmentKind, OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import type { Call } from "../../platform/call.ts";
import type { FieldViolation } from "../../platform/errors.ts";
import { invalidRequest } from "../../platform/errors.ts";
import { parseMoney } from "../../platform/money.ts";
import { checkActsFor } from "../../platform/rules/access.ts";
import type { Address, Order } from "./order.ts";
import type { OrderDraft } from "./place-order.ts";
import type { Charge } from "./pricing.ts";
import type { RefundWish } from "./refund.ts";

/** Whose orders a request is about: the caller's own, or the named user's where the caller may act for them. */
export function ownerOf(userId: string, { subject }: Call, permission: string): string {
  const named = userId.toLowerCase();
  if (named !== "") {
    checkActsFor(subject, named, permission);
    return named;
  }
  if (subject.kind === "user") return subject.id;
  throw invalidRequest({ field: "user_id", description: "is required of a caller that is no user" });
}

/** @throws AppError ACCESS_DENIED, INVALID_REQUEST */
export function parseDraft(request: CreateOrderRequest, call: Call): OrderDraft {
  const userId = ownerOf(request.userId, call, "order.write");
  if (request.adjustments.length > 0) checkActsFor(call.subject, "", "order.write");
  if (request.paymentMethodToken !== "" && request.paymentMethodId !== "") {
    throw invalidRequest({ field: "payment_method_id", description: "is given instead of a token, not beside it" });
  }
  return {
    userId,
    items: request.items.map(({ sku, quantity }) => ({ sku, quantity })),
    paymentMethodToken: request.paymentMethodToken === "" ? undefined : request.paymentMethodToken,
    paymentMethodId: request.paymentMethodId === "" ? undefined : request.paymentMethodId,
    shippingAddress: request.shippingAddress && parseAddress(request.shippingAddress),
    billingAddress: request.billingAddress && parseAddress(request.billingAddress),
    expectedTotal: request.expectedTotal && parseMoney(request.expectedTotal, "expected_total", 0n),
    charges: parseCharges(request.adjustments, request.items.length),
  };
}

const chargeKinds: ReadonlyMap<number, Charge["kind"]> = new Map(
  (["DISCOUNT", "SHIPPING", "FEE"] as const).map((kind) => [AdjustmentKind[kind], kind]),
);

/** All faulty fields at once. */
function parseCharges(adjustments: readonly ManualAdjustment[], lines: number): Charge[] {
  const faults = adjustments.flatMap(({ kind, lineNumber, amountMinor }, index): FieldViolation[] => {
    const field = (name: string) => `adjustments[${String(index)}].${name}`;
    const isDiscount = kind === AdjustmentKind.DISCOUNT;
    return [
      ...(lineNumber > lines ? [{ field: field("line_number"), description: "is no line of this order" }] : []),
      ...(isDiscount && amountMinor >= 0n
        ? [{ field: field("amount_minor"), description: "must be below 0 for a discount" }]
        : []),
      ...(!isDiscount && amountMinor < 0n
        ? [{ field: field("amount_minor"), description: "must be 0 or above for what is no discount" }]
        : []),
    ];
  });
  if (faults.length > 0) throw invalidRequest(...faults);
  return adjustments.flatMap(({ kind, lineNumber, label, amountMinor, taxCategory }) => {
    const known = chargeKinds.get(kind);
    if (!known) return [];
    const charge = { kind: known, lineNumber, label, minor: amountMinor, source: "manual" };
    return [known === "DISCOUNT" || taxCategory === "" ? charge : { ...charge, taxCategory }];
  });
}

/** @throws AppError INVALID_REQUEST */
export function parseRefund(request: RefundOrderRequest): RefundWish & { readonly reason: string } {
  const { lines, amountMinor, restock, reason } = request;
  if (lines.length > 0 && amountMinor > 0n) {
    throw invalidRequest({ field: "amount_minor", description: "is given instead of lines, not beside them" });
  }
  return { lines: lines.map(({ number, quantity }) => ({ number, quantity })), minor: amountMinor, restock, reason };
}

function parseAddress({ $typeName: _type, $unknown: _unknown, ...address }: AddressMessage): Address {
  return address;
}

export const stateNames: ReadonlyMap<number, Order["state"]> = new Map(
  (["PENDING", "AWAITING_PAYMENT", "CONFIRMED", "FULFILLED", "DELIVERED", "REJECTED", "CANCELLED"] as const).map(
    (name) => [OrderState[name], name],
  ),
);
