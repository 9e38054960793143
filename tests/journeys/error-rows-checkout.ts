import { randomUUID } from "node:crypto";
import type { DescMethodUnary, MessageInitShape } from "@bufbuild/protobuf";
import { InventoryService, MovementKind } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { AdjustmentKind, OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { PaymentService } from "#gen/commerce/payment/v1/payment_pb.ts";
import { payloadOf } from "../support/wire.ts";
import type { Row, World } from "./error-row.ts";
import { item, row } from "./error-row.ts";

const { createOrder, cancelOrder, refundOrder, fulfilOrder, deliverOrder } = OrderService.method;
const { getPayment, savePaymentMethod, authorizePayment } = PaymentService.method;
const { adjustStock, transferStock, updateStockPolicy, createLocation, updateLocation, reserveStock } =
  InventoryService.method;

/** What becomes of a request: the name of the row, what is sent, the code, the reason, the faulty fields. */
function refused<M extends DescMethodUnary>(
  method: M,
  ...[name, request, code, reason, fields]: readonly [
    string,
    (world: World) => MessageInitShape<M["input"]>,
    string,
    string,
    (readonly string[])?,
  ]
): Row {
  return row(name, method, (world) => payloadOf(method.input, request(world)), code, reason, fields);
}

const discount = (amountMinor: bigint) => ({ kind: AdjustmentKind.DISCOUNT, label: "Sorry", amountMinor });
const [precondition, invalid, range] = ["failed_precondition", "invalid_argument", "out_of_range"];

/** The rows of the error table that stock, payments and the way of an order bring. */
export const checkoutRows: readonly Row[] = [
  refused(
    refundOrder,
    "a refund over what remains",
    ({ confirmedId: id }) => ({ id, amountMinor: 596n }),
    range,
    "REFUND_TOO_LARGE",
  ),
  refused(
    refundOrder,
    "a refund of more units than were ordered",
    ({ confirmedId: id }) => ({ id, lines: [{ number: 1, quantity: 2 }] }),
    range,
    "REFUND_TOO_LARGE",
  ),
  refused(
    refundOrder,
    "a refund of a line that is not there",
    ({ confirmedId: id }) => ({ id, lines: [{ number: 2, quantity: 1 }] }),
    invalid,
    "INVALID_REQUEST",
    ["lines[0].number"],
  ),
  refused(
    refundOrder,
    "a refund by lines and by amount at once",
    ({ confirmedId: id }) => ({ id, lines: [{ number: 1, quantity: 1 }], amountMinor: 1n }),
    invalid,
    "INVALID_REQUEST",
    ["amount_minor"],
  ),
  refused(
    refundOrder,
    "a refund below 0, of units below 1",
    ({ confirmedId: id }) => ({ id, lines: [{ number: 0, quantity: 0 }], amountMinor: -1n }),
    invalid,
    "INVALID_REQUEST",
    ["lines[0].number", "lines[0].quantity", "amount_minor"],
  ),
  refused(refundOrder, "a refund of what is cancelled", ({ orderId: id }) => ({ id }), precondition, "WRONG_STATE"),
  refused(refundOrder, "a refund of an absent order", () => ({ id: randomUUID() }), "not_found", "NOT_FOUND"),
  refused(cancelOrder, "cancelling what is rejected", ({ rejectedId: id }) => ({ id }), precondition, "WRONG_STATE"),
  refused(fulfilOrder, "fulfilling what is cancelled", ({ orderId: id }) => ({ id }), precondition, "WRONG_STATE"),
  refused(
    fulfilOrder,
    "fulfilling with a stale version",
    ({ confirmedId: id }) => ({ id, expectedVersion: 999 }),
    "aborted",
    "VERSION_MISMATCH",
  ),
  refused(deliverOrder, "delivering what has not left", ({ confirmedId: id }) => ({ id }), precondition, "WRONG_STATE"),
  refused(
    createOrder,
    "more discount than there is to pay",
    ({ userId, sku }) => ({ userId, items: [item(sku)], adjustments: [discount(-501n)] }),
    precondition,
    "DISCOUNT_TOO_LARGE",
  ),
  refused(
    createOrder,
    "a discount that adds, and one of no line",
    ({ userId, sku }) => ({
      userId,
      items: [item(sku)],
      adjustments: [discount(1n), { ...discount(-1n), lineNumber: 2 }],
    }),
    invalid,
    "INVALID_REQUEST",
    ["adjustments[0].amount_minor", "adjustments[1].line_number"],
  ),
  refused(
    createOrder,
    "a tax that somebody invents",
    ({ userId, sku }) => ({
      userId,
      items: [item(sku)],
      adjustments: [{ kind: AdjustmentKind.TAX, label: "", amountMinor: 1n }],
    }),
    invalid,
    "INVALID_REQUEST",
    ["adjustments[0].kind", "adjustments[0].label"],
  ),
  refused(
    createOrder,
    "two ways to pay at once",
    ({ userId, sku }) => ({
      userId,
      items: [item(sku)],
      paymentMethodToken: "tok_approved",
      paymentMethodId: randomUUID(),
    }),
    invalid,
    "INVALID_REQUEST",
    ["payment_method_id"],
  ),

  refused(getPayment, "an absent payment", () => ({ orderId: randomUUID() }), "not_found", "NOT_FOUND"),
  refused(
    savePaymentMethod,
    "a token that the provider does not know",
    ({ userId }) => ({ userId, token: "tok_of_nobody" }),
    precondition,
    "PAYMENT_METHOD_INVALID",
  ),
  refused(
    authorizePayment,
    "money for roles only",
    ({ confirmedId: orderId, userId }) => ({ orderId, userId, amount: { currencyCode: "EUR", amountMinor: 1n } }),
    "unimplemented",
    "UNSUPPORTED_METHOD",
  ),

  refused(
    adjustStock,
    "units at a place that is not there",
    ({ sku }) => ({ sku, delta: 1n, location: "the-moon" }),
    precondition,
    "LOCATION_UNKNOWN",
  ),
  refused(
    transferStock,
    "units to a place that is not there",
    ({ sku }) => ({ sku, fromLocation: "main", toLocation: "the-moon", quantity: 1n }),
    precondition,
    "LOCATION_UNKNOWN",
  ),
  refused(
    updateStockPolicy,
    "a backorder limit at a place that is not there",
    ({ sku }) => ({ sku, backorderLimit: 1n, location: "the-moon" }),
    precondition,
    "LOCATION_UNKNOWN",
  ),
  refused(
    adjustStock,
    "units away that orders hold",
    ({ sku }) => ({ sku, delta: -4n }),
    precondition,
    "STOCK_RESERVED",
  ),
  refused(
    transferStock,
    "units elsewhere that orders hold",
    ({ sku }) => ({ sku, fromLocation: "main", toLocation: "attic", quantity: 4n }),
    precondition,
    "STOCK_RESERVED",
  ),
  refused(
    adjustStock,
    "a count that is not up to date",
    ({ sku }) => ({ sku, delta: 1n, expectedOnHand: 3n }),
    "aborted",
    "STOCK_CHANGED",
  ),
  {
    ...refused(
      adjustStock,
      "no units of no SKU, as a sale",
      () => ({ sku: "", delta: 0n, kind: MovementKind.SALE }),
      invalid,
      "INVALID_REQUEST",
      ["sku", "delta", "kind"],
    ),
    pathless: true,
  },
  refused(
    createLocation,
    "a place that is there",
    () => ({ code: "main", name: "Main" }),
    "already_exists",
    "LOCATION_TAKEN",
  ),
  refused(updateLocation, "an absent place", () => ({ code: "the-moon", name: "Moon" }), "not_found", "NOT_FOUND"),
  refused(
    updateLocation,
    "a place with a stale version",
    () => ({ code: "main", name: "Main", expectedVersion: 999 }),
    "aborted",
    "VERSION_MISMATCH",
  ),
  refused(
    reserveStock,
    "a hold by a client",
    ({ sku, orderId }) => ({ orderId, lines: [{ sku, quantity: 1n }], holdSeconds: 60 }),
    "unimplemented",
    "UNSUPPORTED_METHOD",
  ),
];
