import Stripe from "stripe";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newId } from "../../src/platform/id.ts";
import type { PaymentProvider } from "../../src/roles/payment/provider.ts";
import { METHOD_UNKNOWN, ProviderRefusal } from "../../src/roles/payment/provider.ts";
import { stripeProvider } from "../../src/roles/payment/stripe-provider.ts";
import type { StripeApi } from "../support/stripe-api.ts";
import { startStripeApi } from "../support/stripe-api.ts";

const webhookSecret = "whsec_of_the_tests";
const signal = new AbortController().signal;
const amount = { currency: "EUR", minor: 1_290n };

let api: StripeApi;
let provider: PaymentProvider;
beforeAll(async () => {
  api = await startStripeApi();
  provider = stripeProvider({
    secretKey: "sk_test_none",
    webhookSecret,
    api: { host: "127.0.0.1", port: api.port, protocol: "http" },
  });
});
afterAll(() => api[Symbol.asyncDispose]());

const authorize = (methodToken: string, paymentId = newId(), key = newId(), money = amount, userId = newId()) =>
  provider.authorize(
    { key, paymentId, orderId: newId(), userId, amount: money, methodToken, returnUrl: "https://shop.test/back" },
    signal,
  );

describe("the port over Stripe", () => {
  test("holds with manual capture, takes and pays back, each with its key", async () => {
    const paymentId = newId();
    const held = await authorize("pm_card_visa", paymentId, "a1");
    expect(held).toMatchObject({ state: "authorized", paymentId, amount, capturedMinor: 0n });
    const created = api.calls.at(-1);
    expect(created?.key).toBe("a1");
    expect(Object.fromEntries(created?.form ?? [])).toMatchObject({
      amount: "1290",
      currency: "eur",
      capture_method: "manual",
      confirm: "true",
      "metadata[payment_id]": paymentId,
    });
    const { reference } = held;
    expect(await provider.capture({ key: "c1", reference, amount }, signal)).toMatchObject({
      state: "captured",
      capturedMinor: 1_290n,
    });
    const back = await provider.refund({ key: "r1", reference, amount: { currency: "EUR", minor: 290n } }, signal);
    expect(back.refunds).toEqual([{ key: "r1", minor: 290n, state: "succeeded", failureCode: "" }]);
    expect(api.calls.filter(({ key }) => key !== undefined).map(({ key }) => key)).toEqual(["a1", "c1", "r1"]);
  });

  test("a decline is an outcome, a wrong token a refusal", async () => {
    expect(await authorize("pm_card_chargeDeclinedInsufficientFunds")).toMatchObject({
      state: "declined",
      declineCode: "insufficient_funds",
    });
    const refused = await authorize("pm_of_nobody").catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(ProviderRefusal);
    expect((refused as ProviderRefusal).code).toBe(METHOD_UNKNOWN);
  });

  test("an action has the address of its page", async () => {
    expect(await authorize("pm_card_threeDSecure2Required")).toMatchObject({
      state: "requires action",
      redirectUrl: "https://hooks.stripe.test/3ds",
    });
  });

  test("gives back what is held; a capture after that is refused", async () => {
    const { reference } = await authorize("pm_card_visa");
    expect(await provider.void({ key: newId(), reference }, signal)).toMatchObject({ state: "voided" });
    await expect(provider.capture({ key: newId(), reference, amount }, signal)).rejects.toMatchObject({
      name: "ProviderRefusal",
      code: "payment_intent_unexpected_state",
    });
  });

  test.each([
    [500, { type: "api_error", message: "oops" }],
    [429, { type: "invalid_request_error", code: "rate_limit", message: "slow down" }],
    [401, { type: "invalid_request_error", message: "wrong key" }],
    [409, { type: "idempotency_error", message: "in use" }],
  ])("after a %s the outcome is unknown, it is not sent again by itself, and it is found", async (status, error) => {
    const paymentId = newId();
    const before = api.calls.length;
    api.failNext(status, error, true);
    const thrown = await authorize("pm_card_visa", paymentId).catch((reason: unknown) => reason);
    expect(thrown).toBeInstanceOf(Error);
    expect(thrown).not.toBeInstanceOf(ProviderRefusal);
    expect(api.calls.slice(before).filter(({ method }) => method === "POST")).toHaveLength(1);
    expect(await provider.find({ paymentId, reference: "" }, signal)).toMatchObject({ state: "authorized", paymentId });
  });

  test("the same key again is the same intent, and none is found where there is none", async () => {
    const paymentId = newId();
    const key = newId();
    const first = await authorize("pm_card_visa", paymentId, key);
    expect((await authorize("pm_card_visa", paymentId, key)).reference).toBe(first.reference);
    expect(await provider.find({ paymentId: newId(), reference: "" }, signal)).toBeUndefined();
    expect(await provider.find({ paymentId, reference: first.reference }, signal)).toMatchObject({ paymentId });
    const all = [];
    for await (const payment of provider.listSince(new Date(0), signal)) all.push(payment.paymentId);
    expect(all).toContain(paymentId);
  });

  test("a signal that aborts ends the wait", async () => {
    await expect(
      provider.find({ paymentId: newId(), reference: "" }, AbortSignal.abort(new Error("late"))),
    ).rejects.toThrow("late");
  });

  test.each([
    ["JPY", 1_290n, "1290"],
    ["ISK", 12n, "1200"],
    ["MGA", 1_200n, "12"],
  ])("amounts in %s are written as Stripe wants them", async (currency, minor, units) => {
    const held = await authorize("pm_card_visa", newId(), newId(), { currency, minor });
    expect(api.calls.at(-1)?.form.get("amount")).toBe(units);
    expect(held.amount).toEqual({ currency, minor });
  });

  test("a saved token belongs to a customer from then on, and pays as this one's", async () => {
    const userId = newId();
    const saved = {
      token: "pm_card_mastercard",
      brand: "visa",
      lastDigits: "4242",
      expiryMonth: 4,
      expiryYear: 2034,
    };
    expect(await provider.saveMethod("pm_card_mastercard", userId, signal)).toEqual(saved);
    expect(await provider.saveMethod("pm_card_mastercard", userId, signal)).toEqual(saved);
    const made = api.calls.filter(({ path }) => /customers|attach/.test(path));
    expect(made.map(({ path }) => path)).toEqual(["/v1/customers", "/v1/payment_methods/pm_card_mastercard/attach"]);
    const pays = (who: string) => authorize("pm_card_mastercard", newId(), newId(), amount, who);
    expect(await pays(userId)).toMatchObject({ state: "authorized" });
    expect(api.calls.at(-1)?.form.get("customer")).toBe(`cus_${userId}`);
    // Nobody else pays with it, or saves it for themselves.
    expect(await pays(newId()).catch((error: unknown) => error)).toMatchObject({ code: METHOD_UNKNOWN });
    expect(await provider.saveMethod("pm_card_mastercard", newId(), signal)).toBeUndefined();
    expect(await provider.saveMethod("pm_none", userId, signal)).toBeUndefined();
  });
});

describe("webhooks of Stripe", () => {
  const { webhooks } = new Stripe("sk_test_none");
  const now = new Date();
  const payload = JSON.stringify({
    id: "evt_1",
    object: "event",
    type: "payment_intent.succeeded",
    data: { object: { object: "payment_intent", metadata: { payment_id: "ours" } } },
  });
  const timestamp = Math.floor(now.getTime() / 1_000);
  const signed = (secret = webhookSecret, at = timestamp) => ({
    "stripe-signature": webhooks.generateTestHeaderString({ payload, secret, timestamp: at }),
  });

  test("are read where the signature is right", () => {
    expect(provider.parseWebhook(Buffer.from(payload), signed(), now)).toEqual({
      id: "evt_1",
      type: "payment_intent.succeeded",
      paymentId: "ours",
      state: "captured",
    });
  });

  test.each([
    ["another secret", payload, signed("whsec_other")],
    ["another body", payload.replace("ours", "mine"), signed()],
    ["an old signature", payload, signed(webhookSecret, timestamp - 301)],
    ["no signature", payload, {}],
    ["nonsense", payload, { "stripe-signature": "t=1,v1=zz" }],
  ] as const)("are not genuine with %s", (_what, body, headers) => {
    expect(provider.parseWebhook(Buffer.from(body), headers as Record<string, string>, now)).toBeUndefined();
  });
});
