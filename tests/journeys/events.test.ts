import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createClient } from "@connectrpc/connect";
import { DeliveryState, NotificationService } from "#gen/commerce/notification/v1/notification_pb.ts";
import { OrderState, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { newId } from "../../src/platform/id.ts";
import { addStocked } from "../support/checkout.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { present } from "../support/role.ts";
import type { SmtpSink } from "../support/smtp-sink.ts";
import { startSmtpSink } from "../support/smtp-sink.ts";

describe.each(topologies)("events, %s", (topology) => {
  let sink: SmtpSink;
  let shop: Installation;
  beforeAll(async () => {
    sink = await startSmtpSink();
    shop = await startInstallation(topology, {
      MAIL_URL: `smtp://${sink.host}:${String(sink.port)}`,
      PUBLIC_URL: "https://shop.example",
    });
  });
  afterAll(async () => {
    await shop[Symbol.asyncDispose]();
    await sink[Symbol.asyncDispose]();
  });

  const clients = () => clientsOf(protocols["Connect binary"](shop.url));
  const notifications = () => createClient(NotificationService, protocols.gRPC(shop.url));
  const someEmail = () => `${newId()}@example.com`;
  const mailsTo = (email: string) => sink.mails.filter(({ to }) => to.includes(email));

  test("a new customer gets one welcome mail, with a link that confirms the email", async () => {
    const email = someEmail();
    const { user } = await clients().users.createUser({ email });
    await until(() => mailsTo(email).length > 0);
    const token = /https:\/\/shop\.example\/-\/user\/confirm-email#(?<token>[\w-]+)/.exec(
      present(mailsTo(email)[0]).text,
    );
    await clients().auth.confirmEmail({ token: token?.groups?.["token"] ?? "" });
    const id = present(user).id;
    expect((await clients().users.getUser({ id })).user?.emailConfirmed).toBe(true);
    const { deliveries } = await notifications().listDeliveries({ userId: id });
    expect(deliveries).toMatchObject([{ template: "welcome", state: DeliveryState.SENT, recipient: email }]);
    expect(mailsTo(email)).toHaveLength(1);
  });

  test("what happens to an order is told in its order", async () => {
    const { users, products, orders, inventory } = clients();
    const email = someEmail();
    const userId = present((await users.createUser({ email })).user).id;
    const sku = `SKU-${newId()}`;
    const price = { currencyCode: "EUR", amountMinor: 1_290n };
    await products.addProduct({ title: "Mug", variants: [{ sku, price }] });
    await inventory.adjustStock({ sku, delta: 2n });
    const waitFor = WaitFor.SETTLED;
    const { order } = await orders.createOrder({ userId, items: [{ sku, quantity: 2 }], waitFor });
    await orders.cancelOrder({ id: present(order).id, waitFor });
    await until(() => mailsTo(email).length === 4);
    const { deliveries } = await notifications().listDeliveries({ userId });
    expect(deliveries.map(({ template }) => template).reverse()).toEqual([
      "welcome",
      "order-placed",
      "order-confirmed",
      "order-cancelled",
    ]);
  });

  test("what happened while nobody listened is told afterwards, once", async () => {
    const process = present(shop.processes["notification"]);
    const emails = Array.from({ length: 20 }, someEmail);
    if (topology === "one process") {
      // Killed in the midst of it: what was answered is told by the next one.
      await Promise.all(emails.map((email) => clients().users.createUser({ email })));
      process.kill("SIGKILL");
    } else {
      process.kill("SIGKILL");
      await process.exited;
      await Promise.all(emails.map((email) => clients().users.createUser({ email })));
    }
    await process.exited;
    await shop.start("notification");
    await until(() => emails.every((email) => mailsTo(email).length > 0), 40_000);
    for (const email of emails) {
      // Killed between sending and noting it, a mail is sent again: it is the same one then.
      expect(new Set(mailsTo(email).map(({ headers }) => headers.get("message-id"))).size).toBe(1);
    }
  });

  test("an order that is watched at one process tells what another one does", async () => {
    const elsewhere = topology === "one process" ? await shop.another("gateway") : shop.url;
    const { users, orders } = clients();
    const userId = present((await users.createUser({ email: someEmail() })).user).id;
    const sku = await addStocked(clients(), { main: 1 });
    const paymentMethodToken = "tok_requires_action";
    const { order } = await orders.createOrder({ userId, items: [{ sku, quantity: 1 }], paymentMethodToken });
    const states = new Set<OrderState>();
    for await (const { event } of clientsOf(protocols.gRPC(elsewhere)).orders.watchOrder({ id: present(order).id })) {
      const { state } = present(event);
      if (state === OrderState.AWAITING_PAYMENT && !states.has(state)) {
        await orders.cancelOrder({ id: present(order).id });
      }
      states.add(state);
    }
    expect([...states]).toEqual([OrderState.PENDING, OrderState.AWAITING_PAYMENT, OrderState.CANCELLED]);
  });
});
