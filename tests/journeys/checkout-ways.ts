import type { Browser } from "playwright-core";
import { expect, test } from "vitest";
import type { CancelOrderResponse, OrderTransition } from "#gen/commerce/order/v1/order_pb.ts";
import { OrderState, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { browserPath, openBrowser } from "../support/browser.ts";
import { stockOf } from "../support/checkout.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import type { Protocol } from "../support/protocols.ts";
import { present } from "../support/role.ts";
import { balanceOf, endOf, moneyOf, newBuyer, stepsOf } from "./checkout-shop.ts";

export const CONFIRMED = ["PLACED", "STOCK_RESERVED", "PAYMENT_AUTHORIZED", "STOCK_COMMITTED", "CONFIRMED"];
const PAID_BACK = ["CANCEL_REQUESTED", "REFUND_REQUESTED", "REFUNDED", "STOCK_RELEASED", "CANCELLED"];
/** What a mug costs, with tax. */
export const MUG = 1_535n;
/** The stock of a mug that nobody has bought. */
export const all = { onHand: 10n, reserved: 0n, available: 10n };
export const settled = { waitFor: WaitFor.SETTLED } as const;

if (browserPath === undefined) process.stdout.write("no Chromium on this machine: no payment was confirmed in one\n");

export function goesThroughOver(names: readonly Protocol[], shop: () => Installation): void {
  test.each(names)("goes through over %s, and is cancelled", async (protocol) => {
    const buyer = await newBuyer(shop(), protocol);
    const { clients, admin, sku } = buyer;
    const order = await buyer.order({ items: [{ sku, quantity: 2 }], idempotencyKey: "k1" });
    const [id, total] = [order.id, order.totalAmount?.amountMinor];
    expect(endOf(order)).toBe("CONFIRMED");
    expect(total).toBe(3_070n);
    expect(await stockOf(admin, sku)).toEqual({ onHand: 8n, reserved: 0n, available: 8n });
    expect(await moneyOf(admin, id)).toEqual({
      state: "CAPTURED",
      captured: total,
      refunded: 0n,
      booked: ["CAPTURE 3070"],
    });
    expect(await balanceOf(admin)).toEqual({ EUR: 0n });

    const seen: (OrderTransition | undefined)[] = [];
    for await (const { event } of clients.orders.watchOrder({ id })) if (seen.push(event) === 3) break;
    let cancelling: Promise<CancelOrderResponse> | undefined;
    // Broken off, and taken up again where it was.
    for await (const { event } of clients.orders.watchOrder({ id, afterPosition: 3n })) {
      if (seen.push(event) === 5) cancelling = clients.orders.cancelOrder({ id, ...settled });
    }
    expect(endOf(present((await cancelling)?.order))).toBe("CANCELLED CANCEL_REQUESTED");
    expect(stepsOf(seen)).toEqual([...CONFIRMED, ...PAID_BACK]);
    expect(await buyer.steps(id)).toEqual([...CONFIRMED, ...PAID_BACK]);
    expect(await stockOf(admin, sku)).toEqual(all);
    expect(await moneyOf(admin, id)).toMatchObject({ refunded: total, booked: ["CAPTURE 3070", "REFUND 3070"] });
    expect((await buyer.read(id)).refundedAmount?.amountMinor).toBe(total);
    await until(async () => (await buyer.mails()).length === 4);
    expect(await buyer.mails()).toEqual(["welcome", "order-placed", "order-confirmed", "order-cancelled"]);
    expect(await clients.orders.createOrder({ items: [{ sku, quantity: 2 }], idempotencyKey: "k1" })).toMatchObject({
      order: { id, state: OrderState.PENDING },
    });
  });
}

/** What the form of the provider's page sends. */
export function decision(word: "approve" | "decline"): RequestInit {
  return { method: "POST", body: new URLSearchParams({ decision: word }), redirect: "manual" };
}

export function waitsForItsBuyer(shop: () => Installation): void {
  test.each([
    ["approve", "CONFIRMED", "paid"],
    ["decline", "REJECTED CARD_DECLINED action_declined", "declined"],
  ] as const)("a payment that its buyer has to confirm is awaited: %s", async (word, end, told) => {
    const buyer = await newBuyer(shop());
    const waiting = await buyer.order({ paymentMethodToken: "tok_requires_action" });
    const url = waiting.nextAction?.redirectUrl ?? "";
    expect(endOf(waiting)).toBe("AWAITING_PAYMENT");
    expect(Number(waiting.expiresAt?.seconds ?? 0n) * 1_000).toBeGreaterThan(Date.now());
    expect(await stockOf(buyer.admin, buyer.sku)).toEqual({ onHand: 10n, reserved: 1n, available: 9n });
    expect(await (await fetch(url)).text()).toContain("15.35 EUR");
    const answer = await fetch(url, decision(word));
    expect([answer.status, answer.headers.get("location")]).toEqual([
      303,
      expect.stringContaining(waiting.id) as string,
    ]);
    // Told by a webhook and an event: asking takes a quarter of a minute.
    const ended = await buyer.readOnce(waiting.id, ({ state }) => state !== OrderState.AWAITING_PAYMENT);
    expect(endOf(ended)).toBe(end);
    expect([ended.nextAction, ended.expiresAt]).toEqual([undefined, undefined]);
    expect(await (await fetch(url)).text()).toContain(`This payment is ${told}`);
    expect((await buyer.steps(waiting.id)).slice(0, 3)).toEqual([
      "PLACED",
      "STOCK_RESERVED",
      "PAYMENT_ACTION_REQUIRED",
    ]);
  });

  test.skipIf(browserPath === undefined)("a payment is confirmed in a browser", async () => {
    const buyer = await newBuyer(shop());
    const { id, nextAction } = await buyer.order({ paymentMethodToken: "tok_requires_action" });
    const browser: Browser = await openBrowser(browserPath ?? "");
    try {
      const page = await browser.newPage({ viewport: { width: 375, height: 740 } });
      const wrong: string[] = [];
      page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
      await page.goto(nextAction?.redirectUrl ?? "");
      const scroll = await page.evaluate<number>("document.documentElement.scrollWidth");
      expect(scroll).toBeLessThanOrEqual(375);
      await page.getByRole("button", { name: /approve/i }).click();
      await page.waitForURL(new RegExp(id));
      await page.getByRole("heading", { name: "Thank you" }).waitFor();
      await page.goto(nextAction?.redirectUrl ?? "");
      await page.getByRole("heading", { name: /this payment is/i }).waitFor();
      expect(wrong).toEqual([]);
    } finally {
      await browser.close();
    }
    expect(endOf(await buyer.readOnce(id, ({ state }) => state !== OrderState.AWAITING_PAYMENT))).toBe("CONFIRMED");
  });

  test("and one that does not want to wait cancels", async () => {
    const buyer = await newBuyer(shop());
    const waiting = await buyer.order({ paymentMethodToken: "tok_requires_action" });
    const { order } = await buyer.clients.orders.cancelOrder({ id: waiting.id, ...settled });
    expect(endOf(present(order))).toBe("CANCELLED CANCEL_REQUESTED");
    expect(await stockOf(buyer.admin, buyer.sku)).toEqual(all);
    const page = await fetch(waiting.nextAction?.redirectUrl ?? "", decision("approve"));
    expect(await page.text()).toContain("This payment is cancelled");
    expect(await moneyOf(buyer.admin, waiting.id)).toMatchObject({ state: "VOIDED", captured: 0n });
  });
}
