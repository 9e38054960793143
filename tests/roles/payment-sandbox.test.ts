import { fastify } from "fastify";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PaymentService, PaymentState, RefundState } from "#gen/commerce/payment/v1/payment_pb.ts";
import { newId } from "../../src/platform/id.ts";
import { mountRawRoutes } from "../../src/platform/raw-routes.ts";
import payment from "../../src/roles/payment/index.ts";
import type { PaymentTables } from "../../src/roles/payment/schema.ts";
import sandbox from "../../src/roles/sandbox/index.ts";
import type { SandboxTables } from "../../src/roles/sandbox/schema.ts";
import { until } from "../support/conditions.ts";
import { anOrder, euros } from "../support/payment.ts";
import type { PaymentClient } from "../support/payment.ts";
import type { TestRole } from "../support/role.ts";
import { present, refusal, startTestRole } from "../support/role.ts";

/** Both roles as they are, over HTTP, with the tokens of the sandbox. */
const app = fastify();
let base = "";
let shop: TestRole;
let provider: TestRole;
let client: PaymentClient;

beforeAll(async () => {
  const routesUrl = (role: string) => `${base}/-/${role}`;
  provider = await startTestRole("sandbox", sandbox, { routesUrl });
  shop = await startTestRole("payment", payment, {
    config: { PAYMENT_PROVIDER: "sandbox", PAYMENT_RETURN_URL: "https://store.test/orders/{order_id}" },
    routesUrl,
  });
  client = shop.client(PaymentService, { role: "order" });
  const log = pino({ level: "silent" });
  mountRawRoutes(app, "sandbox", provider.running.routes ?? [], log);
  mountRawRoutes(app, "payment", shop.running.routes ?? [], log);
  base = await app.listen({ host: "127.0.0.1", port: 0 });
});
afterAll(async () => {
  await app.close();
  await shop[Symbol.asyncDispose]();
  await provider[Symbol.asyncDispose]();
});

const authorize = async (paymentMethodToken: string, order = anOrder()) => {
  const amount = euros(1290n);
  return present((await client.authorizePayment({ ...order, amount, paymentMethodToken })).payment);
};

const get = async (orderId: string) => present((await shop.client(PaymentService).getPayment({ orderId })).payment);

const journalOf = async (reference: string) => {
  const entries = provider.database<SandboxTables>().selectFrom("journal").select("kind");
  return (await entries.where("reference", "=", reference).orderBy("position").execute()).map(({ kind }) => kind);
};

const webhooksOf = async (paymentId: string) =>
  (
    await shop
      .database<PaymentTables>()
      .selectFrom("webhook_events")
      .select("type")
      .where("payment_id", "=", paymentId)
      .orderBy("received_at")
      .execute()
  ).map(({ type }) => type);

describe("with the sandbox", () => {
  test("an approved card is authorized, captured, refunded, and each is told by a webhook", async () => {
    const { id, orderId, providerReference } = await authorize("tok_approved");
    await client.capturePayment({ orderId });
    const { refund } = await client.refundPayment({ orderId, refundId: newId(), amount: euros(90n) });
    expect(refund?.state).toBe(RefundState.SUCCEEDED);
    expect(await journalOf(providerReference)).toEqual(["authorization", "capture", "refund"]);
    await until(async () => (await webhooksOf(id)).length === 3);
    expect(await get(orderId)).toMatchObject({ state: PaymentState.CAPTURED, refundedAmount: euros(90n), problem: "" });
  });

  test.each([
    ["tok_declined", "card_declined"],
    ["tok_insufficient_funds", "insufficient_funds"],
    ["tok_expired_card", "expired_card"],
  ])("%s is declined", async (token, code) => {
    const error = await refusal(authorize(token));
    expect(error).toMatchObject({ reason: "CARD_DECLINED", details: { metadata: { decline_code: code } } });
  });

  test("the largest amount there is goes the whole way", async () => {
    const order = anOrder();
    const amount = euros(2n ** 63n - 1n);
    await client.authorizePayment({ ...order, amount, paymentMethodToken: "tok_approved" });
    await client.capturePayment(order);
    const wish = { orderId: order.orderId, refundId: newId(), amount };
    expect((await client.refundPayment(wish)).refund?.state).toBe(RefundState.SUCCEEDED);
    expect(await get(order.orderId)).toMatchObject({ capturedAmount: amount, refundedAmount: amount, problem: "" });
  });

  test("an unknown token is no payment method", async () => {
    expect(await refusal(authorize("tok_of_nobody"))).toMatchObject({ reason: "PAYMENT_METHOD_INVALID" });
    const save = client.savePaymentMethod({ userId: newId(), token: "tok_of_nobody" });
    expect((await refusal(save)).reason).toMatch(/PAYMENT_METHOD_INVALID|ACCESS_DENIED/);
  });

  test.each([
    "tok_error_after_charge",
    "tok_webhook_early",
    "tok_webhook_twice",
    "tok_webhook_never",
    "tok_webhook_late",
  ])("%s is authorized once, whatever the answer and the webhooks", async (token) => {
    const { orderId } = await authorize(token);
    await until(async () => (await get(orderId)).state === PaymentState.AUTHORIZED);
    expect(await journalOf((await get(orderId)).providerReference)).toEqual(["authorization"]);
  });

  test("an answer that never comes is made up for", async () => {
    const { orderId } = await authorize("tok_timeout_after_charge");
    await until(async () => (await get(orderId)).state === PaymentState.AUTHORIZED);
    const again = await authorize("tok_approved");
    await client.capturePayment({ orderId: again.orderId });
    expect(await journalOf((await get(orderId)).providerReference)).toEqual(["authorization"]);
  });

  test("a capture whose answer is lost is taken once; a refused one can be voided", async () => {
    const lost = await authorize("tok_error_after_capture");
    expect((await client.capturePayment({ orderId: lost.orderId })).payment).toMatchObject({ capturePending: true });
    await until(async () => (await get(lost.orderId)).state === PaymentState.CAPTURED);
    expect(await journalOf(lost.providerReference)).toEqual(["authorization", "capture"]);
    const refused = await authorize("tok_capture_refused");
    expect(await refusal(client.capturePayment({ orderId: refused.orderId }))).toMatchObject({
      reason: "CAPTURE_FAILED",
    });
    await client.voidPayment({ orderId: refused.orderId });
    await until(async () => (await journalOf(refused.providerReference)).includes("void"));
  });

  test("refunds that are refused, and that take their time", async () => {
    const refused = await authorize("tok_refund_refused");
    await client.capturePayment({ orderId: refused.orderId });
    const wish = { orderId: refused.orderId, refundId: newId(), amount: euros(1n) };
    expect((await client.refundPayment(wish)).refund).toMatchObject({ state: RefundState.FAILED });
    const slow = await authorize("tok_refund_pending");
    await client.capturePayment({ orderId: slow.orderId });
    const { refund } = await client.refundPayment({ ...wish, orderId: slow.orderId, refundId: newId() });
    expect(refund?.state).toBe(RefundState.PENDING);
    provider.clock.advance(3_000);
    await until(async () => (await get(slow.orderId)).refundedAmount?.amountMinor === 1n);
  });

  test("the buyer approves on the page, and the webhook brings the payment on", async () => {
    const asked = await authorize("tok_requires_action");
    expect(asked.state).toBe(PaymentState.REQUIRES_ACTION);
    const page = new URL(asked.redirectUrl);
    const body = new URLSearchParams({ decision: "approve" });
    // Browsers hold the answer to a form to its page's policy.
    const policy = (await fetch(`${base}${page.pathname}`)).headers.get("content-security-policy");
    expect(policy).toContain("form-action 'self' https://store.test;");
    const answer = await fetch(`${base}${page.pathname}`, { method: "POST", body, redirect: "manual" });
    expect(answer.headers.get("location")).toBe(`https://store.test/orders/${asked.orderId}`);
    await until(async () => (await get(asked.orderId)).state === PaymentState.AUTHORIZED);
  });

  test("one whose buyer never acts is voided", async () => {
    const asked = await authorize("tok_requires_action");
    await client.voidPayment({ orderId: asked.orderId });
    await until(async () => (await journalOf(asked.providerReference)).join() === "void");
    expect(await get(asked.orderId)).toMatchObject({ state: PaymentState.VOIDED, problem: "" });
  });
});
