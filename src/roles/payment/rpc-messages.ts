import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type {
  LedgerEntrySchema,
  LedgerTransactionSchema,
  PaymentMethodSchema,
  PaymentSchema,
  RefundSchema,
} from "#gen/commerce/payment/v1/payment_pb.ts";
import { LedgerTransactionKind, PaymentState, RefundState } from "#gen/commerce/payment/v1/payment_pb.ts";
import { moneyToProto } from "../../platform/money.ts";
import type { Operation, Payment, PaymentState as State } from "./payment.ts";
import { isCapturePending } from "./payment.ts";
import type { Balance, BookedTransaction } from "./store-ledger.ts";
import type { SavedMethod } from "./store-methods.ts";

/** A payment as every method answers it. */
export function paymentToProto(payment: Payment): MessageInitShape<typeof PaymentSchema> {
  const money = (minor: bigint) => moneyToProto({ currency: payment.currency, minor });
  return {
    id: payment.id,
    orderId: payment.orderId,
    userId: payment.userId ?? "",
    state: PaymentState[payment.state],
    amount: money(payment.amountMinor),
    capturedAmount: money(payment.capturedMinor),
    refundedAmount: money(payment.refundedMinor),
    provider: payment.provider,
    providerReference: payment.providerReference,
    declineCode: payment.declineCode,
    redirectUrl: payment.redirectUrl,
    capturePending: isCapturePending(payment),
    problem: payment.problem,
    refunds: payment.operations.filter(({ kind }) => kind === "REFUND").map((one) => refundToProto(one, payment)),
    createdAt: timestampFromDate(payment.createdAt),
    updatedAt: timestampFromDate(payment.updatedAt),
  };
}

export function refundToProto(
  refund: Operation,
  { currency }: Pick<Payment, "currency">,
): MessageInitShape<typeof RefundSchema> {
  return {
    id: refund.id,
    amount: moneyToProto({ currency, minor: refund.amountMinor }),
    state: RefundState[refund.state],
    reason: refund.reason,
    failureCode: refund.failureCode,
    createdAt: timestampFromDate(refund.createdAt),
  };
}

/** The states that a list is limited to; those that this build does not know cannot come: they are refused before. */
export function parseStates(states: readonly PaymentState[]): State[] {
  return states.flatMap((state) => names.filter((name) => PaymentState[name] === state));
}

const names: readonly State[] = ["PENDING", "REQUIRES_ACTION", "AUTHORIZED", "CAPTURED", "DECLINED", "VOIDED"];

export function transactionToProto(booked: BookedTransaction): MessageInitShape<typeof LedgerTransactionSchema> {
  return {
    id: booked.id,
    kind: LedgerTransactionKind[booked.kind],
    orderId: booked.orderId,
    paymentId: booked.paymentId,
    entries: booked.entries.map(balanceToProto),
    occurredAt: timestampFromDate(booked.occurredAt),
  };
}

export function balanceToProto({ account, ...money }: Balance): MessageInitShape<typeof LedgerEntrySchema> {
  return { account, amount: moneyToProto(money) };
}

/** Without its token, which is nobody's business. */
export function methodToProto(method: SavedMethod): MessageInitShape<typeof PaymentMethodSchema> {
  return {
    id: method.id,
    userId: method.user_id,
    provider: method.provider,
    brand: method.brand,
    lastDigits: method.last_digits,
    expiryMonth: method.expiry_month,
    expiryYear: method.expiry_year,
    createdAt: timestampFromDate(method.created_at),
  };
}
