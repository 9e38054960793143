import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type {
  CancelOrderResponse,
  CreateOrdersRequestSchema,
  Order,
  OrderTransition,
} from "#gen/commerce/order/v1/order_pb.ts";
import { OrderState, OrderStep, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import type { Clients, Protocol } from "../support/protocols.ts";
import { clientsOf, protocols, refusalOf, spokenTo, streamsUp } from "../support/protocols.ts";
import { present } from "../support/role.ts";

describe.each(topologies)("the five flows in %s", (topology) => {
  let shop: Installation;
  beforeAll(async () => {
    shop = await startInstallation(topology);
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  describe.each(spokenTo[topology])("over %s", (protocol) => {
    let clients: Clients;
    beforeAll(() => {
      clients = clientsOf(protocols[protocol](shop.url));
    });

    test("a user is created, read, and their email is taken whatever its case", async () => {
      const email = `Ada.${randomUUID()}@example.com`;
      const { user } = await clients.users.createUser({ email, displayName: "Ada" });
      expect(user?.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
      expect((await clients.users.getUser({ id: user?.id ?? "" })).user).toEqual(user);
      expect(await refusalOf(clients.users.createUser({ email: email.toUpperCase() }))).toEqual({
        code: "AlreadyExists",
        reason: "EMAIL_TAKEN",
      });
    });

    test("a product is added and the user reads it", async () => {
      const { sku, productId } = await addProduct(clients, 1290n);
      const { product } = await clients.products.getProduct({ sku });
      expect(product?.id).toBe(productId);
      expect(product?.variants[0]?.price).toMatchObject({ currencyCode: "EUR", amountMinor: 1290n });
    });

    test("an order takes titles and prices from the catalogue and is recorded once per key", async () => {
      const { userId, sku, orders } = await buyerAndProduct(shop.url, protocol, 1290n);
      const request = { items: [{ sku, quantity: 2 }], idempotencyKey: "k1" };
      let replayed: string | null = null;
      const { order } = await orders.createOrder(request);
      expect(order).toMatchObject({ userId, state: OrderState.PENDING, version: 1 });
      expect(order?.lines[0]).toMatchObject({ sku, title: `Mug ${sku}`, quantity: 2 });
      expect(order?.itemsAmount?.amountMinor).toBe(2580n);
      const adjusted = sum(
        order?.adjustments.filter(({ included }) => !included).map((a) => a.amount?.amountMinor ?? 0n),
      );
      expect(adjusted).toBe(490n);
      expect(order?.totalAmount?.amountMinor).toBe(2580n + adjusted);

      const again = await orders.createOrder(request, {
        onHeader: (header) => {
          replayed = header.get("idempotent-replayed");
        },
      });
      expect(again.order).toEqual(order);
      expect(replayed).toBe("true");
      const other = { ...request, items: [{ sku, quantity: 3 }] };
      expect(await refusalOf(orders.createOrder(other))).toEqual({
        code: "FailedPrecondition",
        reason: "IDEMPOTENCY_KEY_REUSED",
      });
      const { id, lines, adjustments, totalAmount } = present(order);
      const settled = await orders.createOrder({ ...request, waitFor: WaitFor.SETTLED });
      expect(settled.order).toMatchObject({ id, userId, lines, adjustments, totalAmount, state: OrderState.CONFIRMED });
      expect((await orders.getOrder({ id })).order).toEqual(settled.order);
    });

    // Over REST it has no path.
    test.runIf(protocol !== "REST")("what only roles call is not there", async () => {
      expect(await refusalOf(clients.users.batchGetUsers({ ids: [randomUUID()] }))).toEqual({
        code: "Unimplemented",
        reason: "UNSUPPORTED_METHOD",
      });
    });

    test("errors come with their code and reason from whichever role", async () => {
      const { userId, sku } = await buyerAndProduct(shop.url, protocol, 500n);
      const items = [{ sku, quantity: 1 }];
      const refusals = await Promise.all([
        refusalOf(clients.users.getUser({ id: "nonsense" })),
        refusalOf(clients.products.getProduct({ id: randomUUID() })),
        refusalOf(clients.orders.createOrder({ userId, items: [{ sku: "NO-SUCH", quantity: 1 }] })),
        refusalOf(clients.orders.createOrder({ userId: randomUUID(), items })),
        refusalOf(
          clients.orders.createOrder({ userId, items, expectedTotal: { currencyCode: "EUR", amountMinor: 1n } }),
        ),
      ]);
      expect(refusals).toEqual([
        { code: "InvalidArgument", reason: "INVALID_REQUEST" },
        { code: "NotFound", reason: "NOT_FOUND" },
        { code: "FailedPrecondition", reason: "SKU_UNAVAILABLE" },
        { code: "FailedPrecondition", reason: "USER_UNAVAILABLE" },
        { code: "FailedPrecondition", reason: "PRICE_CHANGED" },
      ]);
    });

    test("all products are streamed", async () => {
      const added = await Promise.all([
        addProduct(clients, 100n),
        addProduct(clients, 200n),
        addProduct(clients, 300n),
      ]);
      const seen = new Set<string>();
      for await (const { products } of clients.products.listProducts({})) {
        for (const { id } of products) {
          expect(seen).not.toContain(id);
          seen.add(id);
        }
      }
      for (const { productId } of added) expect(seen).toContain(productId);
    });

    test.runIf(streamsUp(protocol))(
      "orders are streamed in, and each result streamed back as it is recorded",
      async () => {
        const { sku, orders } = await buyerAndProduct(shop.url, protocol, 700n);
        const first = Promise.withResolvers<undefined>();
        async function* requests(): AsyncIterable<MessageInitShape<typeof CreateOrdersRequestSchema>> {
          yield { sequence: 1, order: { items: [{ sku, quantity: 1 }], idempotencyKey: "s1" } };
          // The rest only comes once the first is answered.
          await first.promise;
          yield { sequence: 2, order: { items: [{ sku, quantity: 0 }], idempotencyKey: "s2" } };
          yield { sequence: 3, order: { items: [{ sku, quantity: 3 }], idempotencyKey: "s3" } };
          yield { sequence: 4, order: { items: [{ sku, quantity: 1 }], idempotencyKey: "s1" } };
        }
        const results = new Map<number, { order?: Order; error?: string }>();
        let listed: string[] = [];
        for await (const { sequence, result } of orders.createOrders(requests())) {
          results.set(
            sequence,
            result.case === "order" ? { order: result.value } : { error: result.value?.message ?? "" },
          );
          if (sequence === 1) listed = (await orders.listOrders({})).orders.map(({ id }) => id);
          first.resolve(undefined);
        }
        // While the stream was open the first was there to be listed, and alone.
        expect(listed).toEqual([results.get(1)?.order?.id]);
        expect(new Set(results.keys())).toEqual(new Set([1, 2, 3, 4]));
        expect(results.get(2)?.error).toContain("items[0].quantity");
        expect(results.get(4)?.order).toEqual(results.get(1)?.order);
        const listedLast = (await orders.listOrders({})).orders;
        expect(listedLast.map(({ id }) => id)).toEqual([results.get(3)?.order?.id, results.get(1)?.order?.id]);
      },
    );

    test.runIf(!streamsUp(protocol))("a client that cannot stream upwards is told of BatchCreateOrders", async () => {
      const drain = async () => {
        async function* none(): AsyncIterable<MessageInitShape<typeof CreateOrdersRequestSchema>> {}
        for await (const result of clients.orders.createOrders(none())) expect(result).toBeUndefined();
      };
      await expect(drain()).rejects.toThrow(/BatchCreateOrders/);
    });

    test("a batch records its good orders and rejects its bad ones", async () => {
      const { sku, orders } = await buyerAndProduct(shop.url, protocol, 700n);
      const { results } = await orders.batchCreateOrders({
        orders: [
          { items: [{ sku, quantity: 1 }], idempotencyKey: "b1" },
          { items: [], idempotencyKey: "b2" },
          { items: [{ sku: "NO-SUCH", quantity: 1 }], idempotencyKey: "b3" },
        ],
      });
      expect(results.map(({ sequence, result }) => [sequence, result.case])).toEqual([
        [0, "order"],
        [1, "error"],
        [2, "error"],
      ]);
    });

    test("a watcher sees an order's history to its end, and a waiting call is answered by it", async () => {
      const { sku, orders } = await buyerAndProduct(shop.url, protocol, 900n);
      const { order } = await orders.createOrder({
        items: [{ sku, quantity: 1 }],
        paymentMethodToken: "tok_requires_action",
      });
      const id = order?.id ?? "";
      const seen: OrderTransition[] = [];
      let cancelling: Promise<CancelOrderResponse> | undefined;
      for await (const { event } of orders.watchOrder({ id })) {
        seen.push(present(event));
        if (event?.state === OrderState.AWAITING_PAYMENT) {
          cancelling ??= orders.cancelOrder({ id, waitFor: WaitFor.SETTLED });
        }
      }
      expect(seen.map(({ position, state, step }) => [position, state, step])).toEqual([
        [1n, OrderState.PENDING, OrderStep.PLACED],
        [2n, OrderState.PENDING, OrderStep.STOCK_RESERVED],
        [3n, OrderState.AWAITING_PAYMENT, OrderStep.PAYMENT_ACTION_REQUIRED],
        [4n, OrderState.AWAITING_PAYMENT, OrderStep.CANCEL_REQUESTED],
        [5n, OrderState.AWAITING_PAYMENT, OrderStep.PAYMENT_VOIDED],
        [6n, OrderState.AWAITING_PAYMENT, OrderStep.STOCK_RELEASED],
        [7n, OrderState.CANCELLED, OrderStep.CANCELLED],
      ]);
      const cancelled = present((await cancelling)?.order);
      expect(cancelled).toMatchObject({ state: OrderState.CANCELLED, cancelRequested: false });
      const { events } = await orders.listOrderEvents({ id });
      expect(events).toEqual(seen);
      const rest = orders.watchOrder({ id, afterPosition: 7n });
      expect(await rest[Symbol.asyncIterator]().next()).toMatchObject({ done: true });
      expect((await orders.cancelOrder({ id })).order?.version).toBe(cancelled.version);
    });
  });

  test("a call that waits is answered when the order is settled, and its replay waits too", async () => {
    const { sku, orders } = await buyerAndProduct(shop.url, "Connect binary", 900n);
    const request = { items: [{ sku, quantity: 1 }], idempotencyKey: "w1" };
    const waiting = orders.createOrder({ ...request, waitFor: WaitFor.SETTLED });
    const { order } = await orders.createOrder(request);
    expect(order?.state).toBe(OrderState.PENDING);
    const replay = orders.createOrder({ ...request, waitFor: WaitFor.SETTLED });
    for (const settled of [await waiting, await replay]) {
      expect(settled.order).toMatchObject({ id: order?.id, state: OrderState.CONFIRMED });
    }
    await orders.cancelOrder({ id: order?.id ?? "", waitFor: WaitFor.SETTLED });
    const replayed = await orders.createOrder({ ...request, waitFor: WaitFor.SETTLED });
    expect(replayed.order?.state).toBe(OrderState.CANCELLED);
    // Without a wait a replay is what was answered first.
    expect((await orders.createOrder(request)).order).toEqual(order);
  });

  test("50 parallel calls with one key record one order and get equal answers", async () => {
    const { sku, orders } = await buyerAndProduct(shop.url, "gRPC", 900n);
    const request = { items: [{ sku, quantity: 1 }], idempotencyKey: "parallel" };
    const answers = await Promise.all(Array.from({ length: 50 }, () => orders.createOrder(request)));
    for (const { order } of answers) expect(order).toEqual(answers[0]?.order);
    expect((await orders.listOrders({})).orders).toHaveLength(1);
  });
});

async function addProduct(clients: Clients, price: bigint): Promise<{ sku: string; productId: string }> {
  const sku = `MUG-${randomUUID()}`;
  const { product } = await clients.products.addProduct({
    title: `Mug ${sku}`,
    variants: [{ sku, price: { currencyCode: "EUR", amountMinor: price } }],
  });
  return { sku, productId: product?.id ?? "" };
}

/** A customer with a login, what they call with, and something to buy that is in stock. */
async function buyerAndProduct(
  url: string,
  protocol: Protocol,
  price: bigint,
): Promise<{ userId: string; sku: string; orders: Clients["orders"] }> {
  const clients = clientsOf(protocols[protocol](url));
  const account = { email: `${randomUUID()}@example.com`, password: "correct horse" };
  const [{ user }, { sku }] = await Promise.all([clients.users.createUser(account), addProduct(clients, price)]);
  await clients.inventory.adjustStock({ sku, delta: 100n });
  return { userId: user?.id ?? "", sku, orders: clientsOf(protocols[protocol](url, account)).orders };
}

function sum(amounts: readonly bigint[] = []): bigint {
  return amounts.reduce((total, amount) => total + amount, 0n);
}
