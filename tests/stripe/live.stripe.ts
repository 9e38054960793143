import { beforeAll, describe, expect, test } from "vitest";
import { newId } from "../../src/platform/id.ts";
import { stripeProvider } from "../../src/roles/payment/stripe-provider.ts";

const secretKey = process.env["STRIPE_SECRET_KEY"] ?? "";

const isGiven = secretKey.startsWith("sk_test_");

beforeAll(() => {
  if (!isGiven) process.stdout.write("Nothing is asked of Stripe: STRIPE_SECRET_KEY is no key of its test mode.\n");
});

/** With a key of Stripe's test mode; no other is used. */
describe.runIf(isGiven)("Stripe's test mode", () => {
  const provider = stripeProvider({ secretKey: isGiven ? secretKey : "sk_test_none", webhookSecret: "" });
  const signal = AbortSignal.timeout(60_000);
  const amount = { currency: "EUR", minor: 1_290n };
  const authorize = (methodToken: string, paymentId = newId(), key = newId()) =>
    provider.authorize(
      { key, paymentId, orderId: newId(), userId: newId(), amount, methodToken, returnUrl: "https://example.com" },
      signal,
    );

  test("holds, takes and pays back, once per key", async () => {
    const [paymentId, key] = [newId(), newId()];
    const held = await authorize("pm_card_visa", paymentId, key);
    expect(held).toMatchObject({ state: "authorized", amount });
    const { reference } = held;
    expect((await authorize("pm_card_visa", paymentId, key)).reference).toBe(reference);
    expect(await provider.capture({ key: newId(), reference, amount }, signal)).toMatchObject({ state: "captured" });
    const refund = { key: newId(), reference, amount: { currency: "EUR", minor: 290n } };
    await provider.refund(refund, signal);
    expect((await provider.refund(refund, signal)).refunds).toMatchObject([{ minor: 290n }]);
    expect(await provider.find({ paymentId, reference }, signal)).toMatchObject({ state: "captured", paymentId });
  });

  test("gives back, declines, asks for an action", async () => {
    const { reference } = await authorize("pm_card_visa");
    expect(await provider.void({ key: newId(), reference }, signal)).toMatchObject({ state: "voided" });
    expect(await authorize("pm_card_chargeDeclinedInsufficientFunds")).toMatchObject({
      state: "declined",
      declineCode: "insufficient_funds",
    });
    const asked = await authorize("pm_card_threeDSecure2Required");
    expect(asked.state).toBe("requires action");
    expect(asked.redirectUrl).toMatch(/^https:/);
  });
});
