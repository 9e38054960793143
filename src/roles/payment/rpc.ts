import { create } from "@bufbuild/protobuf";
import type { PaymentService } from "#gen/commerce/payment/v1/payment_pb.ts";
import {
  ListLedgerTransactionsRequestSchema,
  ListPaymentsRequestSchema,
  SavePaymentMethodRequestSchema,
  SavePaymentMethodResponseSchema,
} from "#gen/commerce/payment/v1/payment_pb.ts";
import type { Call, Handlers } from "../../platform/call.ts";
import { errors, invalidRequest, notFound } from "../../platform/errors.ts";
import { answer, claimOf, createOnce, findReplay } from "../../platform/idempotency.ts";
import type { Money } from "../../platform/money.ts";
import { parseMoney } from "../../platform/money.ts";
import type { PageTokens } from "../../platform/page.ts";
import { checkActsFor } from "../../platform/rules/access.ts";
import { authorizePayment } from "./authorize-payment.ts";
import { capturePayment } from "./capture-payment.ts";
import { paymentErrors } from "./errors.ts";
import type { ProviderMethod } from "./provider.ts";
import { ProviderRefusal } from "./provider.ts";
import { refundPayment } from "./refund-payment.ts";
import {
  balanceToProto,
  methodToProto,
  parseStates,
  paymentToProto,
  refundToProto,
  transactionToProto,
} from "./rpc-messages.ts";
import type { SendContext } from "./send-operation.ts";
import { findPayment, listPayments } from "./store.ts";
import { listTransactions, sumBalances } from "./store-ledger.ts";
import { findMethodOwner, listMethods, putMethod, removeMethod } from "./store-methods.ts";
import { voidPayment } from "./void-payment.ts";

export interface PaymentRpcContext extends SendContext {
  readonly pages: PageTokens;
}

const READ = "payment.read";
const WRITE = "payment.write";

export function paymentRpc(context: PaymentRpcContext): Handlers<typeof PaymentService> {
  const { db, provider, clock, pages } = context;
  const once = createOnce(db);

  /** Has the provider keep a token for a user. @throws AppError PAYMENT_METHOD_INVALID, PEER_DOWN */
  async function keep(token: string, userId: string, call: Call): Promise<ProviderMethod> {
    const signal = AbortSignal.any([call.signal, AbortSignal.timeout(context.patience.lookMs)]);
    const method = await provider.saveMethod(token, userId, signal).catch((cause: unknown) => {
      if (cause instanceof ProviderRefusal) throw paymentErrors.PAYMENT_METHOD_INVALID({ cause });
      throw errors.PEER_DOWN({ retryAfterMs: 1_000, metadata: { peer: provider.name }, cause });
    });
    if (!method) throw paymentErrors.PAYMENT_METHOD_INVALID();
    return method;
  }

  return {
    async getPayment({ orderId }, call) {
      const payment = await findPayment(db, { orderId: orderId.toLowerCase() });
      checkActsFor(call.subject, payment?.userId ?? "", READ);
      if (!payment) throw notFound("payment", orderId);
      return { payment: paymentToProto(payment) };
    },

    async listPayments(request, call) {
      const page = pages.open({
        call,
        schema: ListPaymentsRequestSchema,
        request,
        token: request.pageToken,
        tokenField: "page_token",
        size: request.pageSize,
        omit: ["pageToken", "pageSize"],
      });
      const filter = {
        userId: request.userId.toLowerCase() || undefined,
        states: parseStates(request.states),
        onlyProblems: request.onlyProblems,
      };
      const found = await listPayments(db, filter, page.after?.[0], page.limit, call.signal);
      const { rows, nextPageToken } = page.cut(found, (last) => [last.id]);
      return { payments: rows.map(paymentToProto), nextPageToken };
    },

    async listLedgerTransactions(request, call) {
      const page = pages.open({
        call,
        schema: ListLedgerTransactionsRequestSchema,
        request,
        token: request.pageToken,
        tokenField: "page_token",
        size: request.pageSize,
        omit: ["pageToken", "pageSize"],
      });
      const orderId = request.orderId.toLowerCase() || undefined;
      const found = await listTransactions(db, orderId, page.after?.[0], page.limit, call.signal);
      const { rows, nextPageToken } = page.cut(found, (last) => [last.id]);
      return { transactions: rows.map(transactionToProto), nextPageToken };
    },

    async getLedgerBalances(_request, call) {
      return { balances: (await sumBalances(db, call.signal)).map(balanceToProto) };
    },

    async savePaymentMethod(request, call) {
      const userId = ownerOf(request.userId, call, WRITE);
      const claim = claimOf(call, SavePaymentMethodRequestSchema, request, { scope: userId });
      // The provider may be down, or the token used up, by the time of a repeated call.
      const replay = claim && (await findReplay(db, claim, SavePaymentMethodResponseSchema));
      if (replay) return answer(call, { result: replay, replayed: true });
      const method = await keep(request.token, userId, call);
      const outcome = await once(claim, SavePaymentMethodResponseSchema, async (trx) => {
        const saved = await putMethod(trx, { ...method, userId, provider: provider.name, now: clock.now() });
        return create(SavePaymentMethodResponseSchema, { paymentMethod: methodToProto(saved) });
      });
      return answer(call, outcome);
    },

    async listPaymentMethods({ userId }, call) {
      const methods = await listMethods(db, ownerOf(userId, call, READ));
      return { paymentMethods: methods.map(methodToProto) };
    },

    async removePaymentMethod(request, call) {
      const id = request.id.toLowerCase();
      const owner = await findMethodOwner(db, id);
      checkActsFor(call.subject, owner ?? "", WRITE);
      await removeMethod(db, id);
      return {};
    },

    async authorizePayment(request, call) {
      const payment = await authorizePayment(context, call, {
        orderId: request.orderId.toLowerCase(),
        userId: request.userId.toLowerCase(),
        amount: amountOf(request.amount),
        methodToken: request.paymentMethodToken,
        methodId: request.paymentMethodId.toLowerCase(),
      });
      return { payment: paymentToProto(payment) };
    },

    async capturePayment({ orderId }, call) {
      return { payment: paymentToProto(await capturePayment(context, call, orderId.toLowerCase())) };
    },

    async voidPayment({ orderId }) {
      return { payment: paymentToProto(await voidPayment(context, orderId.toLowerCase())) };
    },

    async refundPayment(request, call) {
      const { payment, refund } = await refundPayment(context, call, {
        orderId: request.orderId.toLowerCase(),
        refundId: request.refundId.toLowerCase(),
        amount: amountOf(request.amount),
        reason: request.reason,
      });
      return { refund: refundToProto(refund, payment) };
    },
  };
}

/** @throws AppError INVALID_REQUEST */
function amountOf(amount: Parameters<typeof parseMoney>[0] | undefined): Money {
  if (!amount) throw invalidRequest({ field: "amount", description: "is required" });
  return parseMoney(amount, "amount", 1n);
}

/** Whose methods a request is about. @throws AppError ACCESS_DENIED; INVALID_REQUEST of a caller that is no user */
function ownerOf(named: string, { subject }: Call, permission: string): string {
  const userId = named.toLowerCase();
  if (userId !== "") {
    checkActsFor(subject, userId, permission);
    return userId;
  }
  if (subject.kind === "user") return subject.id;
  throw invalidRequest({ field: "user_id", description: "is required of a caller that is no user" });
}
