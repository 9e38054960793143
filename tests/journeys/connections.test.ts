import { randomUUID } from "node:crypto";
import { connect, constants } from "node:http2";
import { createClient } from "@connectrpc/connect";
import { Http2SessionManager, createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { OrderService, OrderState, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { as, tokenOf } from "../support/accounts.ts";
import { addStocked } from "../support/checkout.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols, refusalOf } from "../support/protocols.ts";
import { enveloped, openSender } from "../support/wire.ts";

/** One that waits for its buyer: a watch of it goes on. */
async function openOrder(clients: Clients): Promise<string> {
  const { user } = await clients.users.createUser({ email: `${randomUUID()}@example.com` });
  const { order } = await clients.orders.createOrder({
    userId: user?.id ?? "",
    items: [{ sku: await addStocked(clients, { main: 1 }), quantity: 1 }],
    paymentMethodToken: "tok_requires_action",
    waitFor: WaitFor.SETTLED,
  });
  expect(order?.state).toBe(OrderState.AWAITING_PAYMENT);
  return order?.id ?? "";
}

describe.each(topologies)("connections of clients, in %s", (topology) => {
  const apart = topology === "a process per role";
  let shop: Installation;
  beforeAll(async () => {
    shop = await startInstallation(topology);
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  test("one that leaves without a word ends what it asked for, at the gateway and at the role", async () => {
    const id = await openOrder(clientsOf(protocols.gRPC(shop.url)));
    const session = connect(shop.url);
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: "POST",
      [constants.HTTP2_HEADER_PATH]: "/commerce.order.v1.OrderService/WatchOrder",
      "content-type": "application/connect+json",
      authorization: `Bearer ${await tokenOf(shop.url)}`,
    });
    stream.on("error", () => undefined);
    stream.end(enveloped(Buffer.from(JSON.stringify({ id }))));
    await new Promise((resolve) => stream.once("data", resolve));
    // The connection just ends, as when the process of a client dies; no stream is reset.
    session.destroy();
    for (const role of ["gateway", "order"]) {
      const line = shop.processes[role]?.logged(
        (logged) => logged["role"] === role && String(logged["method"]).endsWith("/WatchOrder"),
      );
      expect(await line).toMatchObject({ code: "canceled" });
    }
  });

  test.runIf(apart)("more watches than one connection may carry all see their order", async () => {
    const id = await openOrder(clientsOf(protocols.gRPC(shop.url)));
    const leave = new AbortController();
    const first = Array.from({ length: 2 }, () => {
      const sessionManager = new Http2SessionManager(shop.url);
      const orders = createClient(
        OrderService,
        createGrpcTransport({ baseUrl: shop.url, sessionManager, interceptors: [as(shop.url)] }),
      );
      return Array.from({ length: 80 }, () =>
        orders.watchOrder({ id }, { signal: leave.signal })[Symbol.asyncIterator]().next(),
      );
    });
    try {
      expect(await Promise.all(first.flat())).toHaveLength(160);
    } finally {
      leave.abort();
    }
  });

  test.runIf(apart)("clients that send what cannot be read do not make a role count as down", async () => {
    const id = await openOrder(clientsOf(protocols.gRPC(shop.url)));
    const sender = openSender("Connect JSON", shop.url);
    for (let n = 0; n < 10; n += 1) {
      const payload = { json: "no JSON", binary: Buffer.alloc(0) };
      expect((await sender.send(OrderService.method.createOrders, payload)).reasons).toEqual(["MALFORMED_MESSAGE"]);
    }
    sender.close();
    const seen = await clientsOf(protocols.gRPC(shop.url)).orders.watchOrder({ id })[Symbol.asyncIterator]().next();
    expect(seen.value?.event?.position).toBe(1n);
  });

  test.runIf(apart)(
    "a role that dies is UNAVAILABLE, never a failure of ours, and serves again when it is back",
    {
      timeout: 60_000,
    },
    async () => {
      const clients = clientsOf(protocols.gRPC(shop.url));
      const id = await openOrder(clients);
      const outcomes = new Map<string, number>();
      const note = (outcome: string) => outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      let over = false;
      const callers = Array.from({ length: 8 }, async () => {
        while (!over) {
          const call = clients.orders.getOrder({ id });
          await call.then(
            () => note("OK"),
            async () => {
              const { code, reason } = await refusalOf(call);
              note(`${code} ${reason}`);
            },
          );
        }
      });
      await until(() => (outcomes.get("OK") ?? 0) > 100);
      const order = shop.processes["order"];
      order?.kill("SIGKILL");
      expect(await order?.exited).toBe("SIGKILL");
      await until(() => (outcomes.get("Unavailable PEER_DOWN") ?? 0) > 100);
      await shop.start("order");
      const before = outcomes.get("OK") ?? 0;
      await until(() => (outcomes.get("OK") ?? 0) > before + 100, 30_000);
      over = true;
      await Promise.all(callers);
      expect([...outcomes.keys()].filter((outcome) => outcome !== "OK")).toEqual(["Unavailable PEER_DOWN"]);
    },
  );
});
