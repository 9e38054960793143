import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { PaymentEventSchema } from "#gen/commerce/payment/v1/events_pb.ts";
import {
  LedgerTransactionKind,
  PaymentErrorReason,
  PaymentService,
  PaymentState,
  RefundState,
} from "#gen/commerce/payment/v1/payment_pb.ts";
import { newId } from "../../src/platform/id.ts";
import { paymentErrors } from "../../src/roles/payment/errors.ts";
import { eventsOf } from "../support/outbox.ts";
import type { PaymentTest } from "../support/payment.ts";
import { anOrder, checkBooks, euros, operationsOf, startPaymentTest } from "../support/payment.ts";
import { present, refusal, replayNote, settled } from "../support/role.ts";

let shop: PaymentTest;
beforeAll(async () => {
  shop = await startPaymentTest();
});
afterAll(() => shop[Symbol.asyncDispose]());
afterEach(() => checkBooks(shop));

const user = (id: string) => ({ subject: { kind: "user", id, permissions: [] } }) as const;
const as = (id: string) => shop.role.client(PaymentService, user(id));
const typesOf = async (id: string) =>
  (await eventsOf(shop.role.database<never>(), PaymentEventSchema, id)).map(({ type }) => type);

test("the reasons are those of the contract", () => {
  const names = Object.keys(PaymentErrorReason).filter((name) => !/^\d+$/.test(name) && name !== "UNSPECIFIED");
  expect(Object.keys(paymentErrors).sort()).toEqual(names.sort());
});

describe("the way of a payment", () => {
  test("it is authorized, captured, and refunded in parts", async () => {
    const order = anOrder();
    const authorized = await shop.authorize(order);
    expect(authorized).toMatchObject({ state: PaymentState.AUTHORIZED, provider: "sandbox", userId: order.userId });
    expect(authorized.providerReference).toMatch(/^pay_/);
    const { payment } = await shop.client.capturePayment(order);
    expect(payment).toMatchObject({
      state: PaymentState.CAPTURED,
      capturedAmount: euros(1290n),
      capturePending: false,
    });
    expect(await shop.refund(order, 290n)).toMatchObject({ state: RefundState.SUCCEEDED, amount: euros(290n) });
    expect(await shop.refund(order, 1000n)).toMatchObject({ state: RefundState.SUCCEEDED, reason: "as agreed" });
    expect(await shop.get(order)).toMatchObject({ refundedAmount: euros(1290n), refunds: [{}, {}] });
    expect(await typesOf(authorized.id)).toEqual([
      "payment.authorized",
      "payment.captured",
      "payment.refunded",
      "payment.refunded",
    ]);
  });

  test("what is authorized is voided, once", async () => {
    const order = anOrder();
    const { id } = await shop.authorize(order);
    expect((await shop.client.voidPayment(order)).payment?.state).toBe(PaymentState.VOIDED);
    expect((await shop.client.voidPayment(order)).payment?.state).toBe(PaymentState.VOIDED);
    await shop.settled();
    expect(shop.provider.byPaymentId(id)?.state).toBe("voided");
    expect(await operationsOf(shop, order)).toEqual(["AUTHORIZE SUCCEEDED", "VOID SUCCEEDED"]);
    expect(await typesOf(id)).toEqual(["payment.authorized", "payment.voided"]);
  });

  test("a buyer who has to act is waited for", async () => {
    const order = anOrder();
    shop.provider.plan(order.orderId, "authorize", { state: "requires_action" });
    const asked = await shop.authorize(order);
    expect(asked).toMatchObject({ state: PaymentState.REQUIRES_ACTION });
    expect(asked.redirectUrl).toMatch(/^http:\/\/bank.test/);
    expect(await shop.authorize(order)).toMatchObject({ state: PaymentState.REQUIRES_ACTION });
    const known = present(shop.provider.byPaymentId(asked.id));
    known.state = "authorized";
    expect(await shop.webhook({ id: newId(), type: "payment.authorized", payment_id: asked.id, occurred_at: "" })).toBe(
      200,
    );
    await shop.settled();
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.AUTHORIZED, redirectUrl: "" });
    expect(await typesOf(asked.id)).toEqual(["payment.action_required", "payment.authorized"]);
  });

  test("one whose buyer has to act can be voided", async () => {
    const order = anOrder();
    shop.provider.plan(order.orderId, "authorize", { state: "requires_action" });
    const { id } = await shop.authorize(order);
    await shop.client.voidPayment(order);
    await shop.settled();
    expect(shop.provider.byPaymentId(id)?.state).toBe("voided");
    expect(await operationsOf(shop, order)).toEqual(["AUTHORIZE FAILED voided", "VOID SUCCEEDED"]);
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.VOIDED });
  });
});

describe("refusals", () => {
  test("a declined card, and again", async () => {
    const order = anOrder();
    for (let time = 0; time < 2; time += 1) {
      const error = await refusal(shop.authorize(order, { paymentMethodToken: "tok_declined" }));
      expect(error).toMatchObject({ kind: "failed_precondition", reason: "CARD_DECLINED" });
      expect(error.details.metadata).toEqual({ decline_code: "card_declined" });
    }
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.DECLINED, declineCode: "card_declined" });
    expect((await shop.client.voidPayment(order)).payment?.state).toBe(PaymentState.DECLINED);
    expect(await refusal(shop.client.capturePayment(order))).toMatchObject({ reason: "WRONG_PAYMENT_STATE" });
    expect(await refusal(shop.refund(order, 1n))).toMatchObject({ reason: "WRONG_PAYMENT_STATE" });
    expect(shop.provider.received.filter(({ body }) => body["order_id"] === order.orderId)).toHaveLength(1);
  });

  test("a token that the provider does not know", async () => {
    const order = anOrder();
    const error = await refusal(shop.authorize(order, { paymentMethodToken: "4242424242424242" }));
    expect(error).toMatchObject({ kind: "failed_precondition", reason: "PAYMENT_METHOD_INVALID" });
    expect(await refusal(shop.authorize(order))).toMatchObject({ reason: "PAYMENT_METHOD_INVALID" });
  });

  test("without a payment there is nothing to capture or refund", async () => {
    const order = anOrder();
    expect(await refusal(shop.client.capturePayment(order))).toMatchObject({ kind: "not_found" });
    expect(await refusal(shop.refund(order, 1n))).toMatchObject({ kind: "not_found" });
  });

  test("another amount for the same order", async () => {
    const order = anOrder();
    await shop.authorize(order);
    for (const amount of [euros(1291n), { currencyCode: "USD", amountMinor: 1290n }]) {
      expect(await refusal(shop.authorize(order, { amount }))).toMatchObject({
        kind: "failed_precondition",
        reason: "PAYMENT_MISMATCH",
      });
    }
  });

  test.each([0n, -1n])("an amount of %s", async (minor) => {
    const order = anOrder();
    const error = await refusal(shop.authorize(order, { amount: euros(minor) }));
    expect(error).toMatchObject({ kind: "invalid_argument", details: { fields: [{ field: "amount.amount_minor" }] } });
    expect(await refusal(shop.refund(order, minor))).toMatchObject({ kind: "invalid_argument" });
  });

  test("a currency that there is not", async () => {
    const amount = { currencyCode: "XQQ", amountMinor: 1n };
    const error = await refusal(shop.authorize(anOrder(), { amount }));
    expect(error).toMatchObject({ kind: "invalid_argument", details: { fields: [{ field: "amount.currency_code" }] } });
  });

  test("after a void nothing is authorized, captured or refunded", async () => {
    const order = anOrder();
    await shop.authorize(order);
    await shop.client.voidPayment(order);
    expect(await refusal(shop.authorize(order))).toMatchObject({ reason: "PAYMENT_VOIDED" });
    const error = await refusal(shop.client.capturePayment(order));
    expect(error).toMatchObject({ kind: "failed_precondition", reason: "WRONG_PAYMENT_STATE" });
    expect(error.details.metadata).toEqual({ state: "VOIDED" });
    expect(await refusal(shop.refund(order, 1n))).toMatchObject({ reason: "WRONG_PAYMENT_STATE" });
    await shop.settled();
  });

  test("what is captured is not voided; nor refunded twice, or over", async () => {
    const order = await shop.paid(1000n);
    expect(await refusal(shop.client.voidPayment(order))).toMatchObject({ reason: "WRONG_PAYMENT_STATE" });
    const refundId = newId();
    await shop.refund(order, 400n, refundId);
    expect(await shop.refund(order, 400n, refundId)).toMatchObject({ state: RefundState.SUCCEEDED });
    expect(await refusal(shop.refund(order, 401n, refundId))).toMatchObject({ reason: "PAYMENT_MISMATCH" });
    const other = await shop.paid();
    expect(await refusal(shop.refund(other, 400n, refundId))).toMatchObject({ reason: "PAYMENT_MISMATCH" });
    const dollars = { orderId: order.orderId, refundId: newId(), amount: { currencyCode: "USD", amountMinor: 1n } };
    expect(await refusal(shop.client.refundPayment(dollars))).toMatchObject({ reason: "PAYMENT_MISMATCH" });
    const over = await refusal(shop.refund(order, 601n));
    expect(over).toMatchObject({ kind: "out_of_range", reason: "REFUND_TOO_LARGE" });
    expect(over.details.metadata).toEqual({ refundable_minor: "600" });
  });

  test("a capture that the provider refuses", async () => {
    const order = anOrder();
    const { id } = await shop.authorize(order);
    shop.provider.plan(order.orderId, "capture", { refuse: "expired_card" });
    for (let time = 0; time < 2; time += 1) {
      const error = await refusal(shop.client.capturePayment(order));
      expect(error).toMatchObject({ kind: "failed_precondition", reason: "CAPTURE_FAILED" });
      expect(error.details.metadata).toEqual({ failure_code: "expired_card" });
    }
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.AUTHORIZED, capturePending: false });
    expect((await shop.client.voidPayment(order)).payment?.state).toBe(PaymentState.VOIDED);
    expect(await refusal(shop.client.capturePayment(order))).toMatchObject({ reason: "CAPTURE_FAILED" });
    await shop.settled();
    expect(shop.provider.byPaymentId(id)?.state).toBe("voided");
    expect(await typesOf(id)).toEqual(["payment.authorized", "payment.capture_failed", "payment.voided"]);
  });

  test("a refund that the provider refuses leaves the money, and another one may be asked for", async () => {
    const order = await shop.paid(500n);
    shop.provider.plan(order.orderId, "refund", { refuse: "account_closed" });
    const refundId = newId();
    expect(await shop.refund(order, 500n, refundId)).toMatchObject({
      state: RefundState.FAILED,
      failureCode: "account_closed",
    });
    expect(await shop.refund(order, 500n, refundId)).toMatchObject({ state: RefundState.FAILED });
    expect(await shop.refund(order, 500n)).toMatchObject({ state: RefundState.SUCCEEDED });
    expect(await shop.get(order)).toMatchObject({ refundedAmount: euros(500n) });
  });
});

test("a payment of another provider waits for a process that has it", async () => {
  const order = await shop.paid();
  const nameIt = (provider: string) =>
    sql`update payments set provider = ${provider} where order_id = ${order.orderId}`.execute(shop.db);
  await nameIt("another");
  const received = shop.provider.received.length;
  expect(await shop.refund(order, 1290n)).toMatchObject({ state: RefundState.PENDING });
  expect(shop.provider.received).toHaveLength(received);
  await nameIt("sandbox");
  await shop.settled();
  expect(await shop.get(order)).toMatchObject({ refundedAmount: euros(1290n) });
});

describe("reading", () => {
  test("one's own payment, and nobody else's; whether there is one is not told", async () => {
    const order = anOrder();
    await shop.authorize(order);
    expect((await as(order.userId).getPayment(order)).payment?.orderId).toBe(order.orderId);
    const foreign = await refusal(as(newId()).getPayment(order));
    const absent = await refusal(as(newId()).getPayment(anOrder()));
    expect(foreign).toMatchObject({ reason: "ACCESS_DENIED" });
    expect(absent).toMatchObject({ reason: "ACCESS_DENIED", message: foreign.message });
    expect(await refusal(shop.role.client(PaymentService).getPayment(anOrder()))).toMatchObject({ kind: "not_found" });
  });

  test("payments are listed newest first, by user, state and problem, in pages", async () => {
    const { userId } = anOrder();
    const orders = Array.from({ length: 3 }, () => ({ ...anOrder(), userId }));
    for (const order of orders) await shop.authorize(order);
    const admin = shop.role.client(PaymentService);
    const first = await admin.listPayments({ userId, pageSize: 2 });
    const second = await admin.listPayments({ userId, pageSize: 2, pageToken: first.nextPageToken });
    expect([...first.payments, ...second.payments].map(({ orderId }) => orderId)).toEqual(
      orders.map(({ orderId }) => orderId).reverse(),
    );
    expect(second.nextPageToken).toBe("");
    const captured = await admin.listPayments({ userId, states: [PaymentState.CAPTURED] });
    expect(captured.payments).toEqual([]);
    expect((await admin.listPayments({ userId, onlyProblems: true })).payments).toEqual([]);
    expect(await refusal(as(userId).listPayments({ userId }))).toMatchObject({ reason: "ACCESS_DENIED" });
  });

  test("the ledger has a transaction for what was taken, and one for what went back", async () => {
    const admin = shop.role.client(PaymentService);
    const before = await admin.getLedgerBalances({});
    const order = await shop.paid(1000n);
    await shop.refund(order, 300n);
    const { transactions } = await admin.listLedgerTransactions({ orderId: order.orderId });
    expect(transactions).toMatchObject([
      {
        kind: LedgerTransactionKind.REFUND,
        entries: [
          { account: "provider:sandbox", amount: euros(-300n) },
          { account: "sales", amount: euros(300n) },
        ],
      },
      {
        kind: LedgerTransactionKind.CAPTURE,
        paymentId: order.payment.id,
        entries: [
          { account: "provider:sandbox", amount: euros(1000n) },
          { account: "sales", amount: euros(-1000n) },
        ],
      },
    ]);
    const { balances } = await admin.getLedgerBalances({});
    const minors = balances.map(({ amount }) => amount?.amountMinor ?? 0n);
    expect(minors.reduce((sum, minor) => sum + minor, 0n)).toBe(0n);
    expect((minors[0] ?? 0n) - (before.balances[0]?.amount?.amountMinor ?? 0n)).toBe(700n);
    const page = await admin.listLedgerTransactions({ orderId: order.orderId, pageSize: 1 });
    const next = { orderId: order.orderId, pageSize: 1, pageToken: page.nextPageToken };
    expect((await admin.listLedgerTransactions(next)).transactions).toMatchObject([{ id: transactions[1]?.id }]);
    const { reasons } = await settled<unknown>([
      as(order.userId).getLedgerBalances({}),
      as(order.userId).listLedgerTransactions({}),
    ]);
    expect(reasons).toEqual(["ACCESS_DENIED", "ACCESS_DENIED"]);
  });

  test("what changes a payment is for the order role alone", async () => {
    const order = anOrder();
    const admin = shop.role.client(PaymentService);
    const cart = shop.role.client(PaymentService, { role: "cart" });
    for (const client of [admin, cart]) {
      expect(await refusal(client.authorizePayment({ ...order, amount: euros(1n) }))).toMatchObject({
        reason: "ACCESS_DENIED",
      });
      expect(await refusal(client.capturePayment(order))).toMatchObject({ reason: "ACCESS_DENIED" });
      expect(await refusal(client.voidPayment(order))).toMatchObject({ reason: "ACCESS_DENIED" });
      const refund = { orderId: order.orderId, refundId: newId(), amount: euros(1n) };
      expect(await refusal(client.refundPayment(refund))).toMatchObject({ reason: "ACCESS_DENIED" });
    }
  });
});

describe("saved methods", () => {
  const save = async (userId: string, token = "tok_saved") =>
    present((await as(userId).savePaymentMethod({ token })).paymentMethod);

  test("are saved with what the provider says, listed newest first, and removed", async () => {
    const userId = newId();
    const first = await save(userId);
    const second = await save(userId, "tok_other");
    expect(first).toMatchObject({ userId, brand: "visa", lastDigits: "4242", expiryMonth: 12, expiryYear: 2030 });
    expect((await save(userId)).id).toBe(first.id);
    const listed = async () => (await as(userId).listPaymentMethods({})).paymentMethods.map(({ id }) => id);
    expect(await listed()).toEqual([second.id, first.id]);
    await as(userId).removePaymentMethod({ id: first.id });
    await as(userId).removePaymentMethod({ id: first.id });
    expect(await listed()).toEqual([second.id]);
    expect((await save(userId)).id).not.toBe(first.id);
  });

  test("a key has one effect; a token that the provider does not know has none", async () => {
    const [userId, request] = [newId(), { token: "tok_keyed", idempotencyKey: "once" }];
    const first = await as(userId).savePaymentMethod(request);
    const note = replayNote();
    expect(await as(userId).savePaymentMethod(request, note.options)).toEqual(first);
    expect(note.replayed).toBe("true");
    const unknown = await refusal(as(userId).savePaymentMethod({ token: "4242" }));
    expect(unknown).toMatchObject({ kind: "failed_precondition", reason: "PAYMENT_METHOD_INVALID" });
    shop.provider.isDown = true;
    expect(await refusal(as(userId).savePaymentMethod({ token: "tok_x" }))).toMatchObject({ reason: "PEER_DOWN" });
    shop.provider.isDown = false;
  });

  test("pay for orders of their user, and of nobody else", async () => {
    const order = anOrder();
    const { id: paymentMethodId } = await save(order.userId, "tok_of_mine");
    await shop.authorize(order, { paymentMethodToken: "", paymentMethodId });
    expect(shop.provider.received.at(-1)?.body["method_token"]).toBe("tok_of_mine");
    const foreign = { paymentMethodToken: "", paymentMethodId };
    expect(await refusal(shop.authorize(anOrder(), foreign))).toMatchObject({ reason: "PAYMENT_METHOD_INVALID" });
    await as(order.userId).removePaymentMethod({ id: paymentMethodId });
    const later = { ...anOrder(), userId: order.userId };
    expect(await refusal(shop.authorize(later, foreign))).toMatchObject({ reason: "PAYMENT_METHOD_INVALID" });
    expect((await shop.authorize(later)).state).toBe(PaymentState.AUTHORIZED);
  });

  test("without any the sandbox's approving card pays", async () => {
    await shop.authorize(anOrder(), { paymentMethodToken: "" });
    expect(shop.provider.received.at(-1)?.body["method_token"]).toBe("tok_approved");
  });

  test("others may not touch them, and do not learn whether there are any", async () => {
    const userId = newId();
    const { id } = await save(userId);
    const stranger = as(newId());
    const { reasons } = await settled<unknown>([
      stranger.listPaymentMethods({ userId }),
      stranger.savePaymentMethod({ userId, token: "tok_x" }),
      stranger.removePaymentMethod({ id }),
      stranger.removePaymentMethod({ id: newId() }),
    ]);
    expect(reasons).toEqual(Array.from({ length: 4 }, () => "ACCESS_DENIED"));
    const admin = shop.role.client(PaymentService);
    expect((await admin.listPaymentMethods({ userId })).paymentMethods).toHaveLength(1);
    const machine = { subject: { kind: "machine", id: newId(), permissions: [] } } as const;
    const nobody = refusal(shop.role.client(PaymentService, machine).listPaymentMethods({}));
    expect(await nobody).toMatchObject({ kind: "invalid_argument" });
  });

  test("a removed token is not kept", async () => {
    const userId = newId();
    const { id } = await save(userId, "tok_to_forget");
    await as(userId).removePaymentMethod({ id });
    const { rows } = await sql`select from payment_methods where token = 'tok_to_forget'`.execute(shop.db);
    expect(rows).toEqual([]);
  });
});

describe("the database refuses", () => {
  async function violation(work: () => Promise<unknown>): Promise<unknown> {
    const error: unknown = await work().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    return (
      (error as { constraint?: string; code?: string } | undefined)?.constraint ?? (error as { code?: string }).code
    );
  }

  test("a ledger transaction that does not sum to zero, or has no entries, or gets one more", async () => {
    const { payment } = await shop.paid();
    const operation = await shop.db
      .selectFrom("payment_operations")
      .select("id")
      .where("payment_id", "=", payment.id)
      .where("kind", "=", "AUTHORIZE")
      .executeTakeFirstOrThrow();
    const book = (amounts: readonly (readonly [string, number])[]) =>
      shop.db.transaction().execute(async (trx) => {
        const id = newId();
        await sql`
          insert into ledger_transactions
          values (${id}, 'CAPTURE', ${payment.id}, ${payment.orderId}, ${operation.id}, now())
        `.execute(trx);
        for (const [at, [currency, minor]] of amounts.entries()) {
          await sql`insert into ledger_entries values (${id}, ${`account ${String(at)}`}, ${currency}, ${minor})`.execute(
            trx,
          );
        }
      });
    expect(await violation(() => book([]))).toBe("ledger_balance");
    expect(await violation(() => book([["EUR", 5]]))).toBe("ledger_balance");
    expect(
      await violation(() =>
        book([
          ["EUR", 5],
          ["USD", -5],
        ]),
      ),
    ).toBe("ledger_balance");
    const { id } = await shop.db
      .selectFrom("ledger_transactions")
      .select("id")
      .where("payment_id", "=", payment.id)
      .executeTakeFirstOrThrow();
    const more = sql`insert into ledger_entries values (${id}, 'more', 'EUR', 1)`;
    expect(await violation(() => more.execute(shop.db))).toBe("ledger_balance");
  });

  test.each([
    sql`update ledger_entries set amount_minor = amount_minor + 1`,
    sql`delete from ledger_entries`,
    sql`truncate ledger_entries`,
    sql`update ledger_transactions set kind = 'REFUND'`,
    sql`delete from ledger_transactions`,
    sql`truncate ledger_transactions cascade`,
  ])("a change of the ledger", async (statement) => {
    await shop.paid();
    expect(await violation(() => statement.execute(shop.db))).toBe("23001");
  });

  test.each([
    [
      sql`update payments set refunded_minor = captured_minor + 1 where captured_minor > 0`,
      "payments_refundable_check",
    ],
    [
      sql`update payments set captured_minor = authorized_minor + 1 where captured_minor > 0`,
      "payments_captured_check",
    ],
    [sql`update payments set state = 'VOIDED' where captured_minor > 0`, "payments_captured_state_check"],
    [
      sql`insert into payment_operations (id, payment_id, kind, amount_minor, due_at, created_at)
        select gen_random_uuid(), payment_id, kind, 1, now(), now() from payment_operations where kind = 'CAPTURE'`,
      "payment_operations_once_key",
    ],
  ])("money that there is not, and a second capture", async (statement, constraint) => {
    await shop.paid();
    expect(await violation(() => statement.execute(shop.db))).toBe(constraint);
  });
});
