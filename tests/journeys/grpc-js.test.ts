import { randomUUID } from "node:crypto";
import { Metadata, status } from "@grpc/grpc-js";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { registry } from "../../src/roles/registry.ts";
import { GrpcService, detailsOf, errorOf } from "../support/grpc-js.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";

interface Product {
  readonly id: string;
}

interface Order {
  readonly id: string;
  readonly state: string;
}

interface Result {
  readonly sequence: number;
  readonly order?: Order;
  readonly error?: { readonly code: number; readonly message: string };
}

describe.each(topologies)("@grpc/grpc-js in %s", (topology) => {
  let shop: Installation;
  let users: GrpcService;
  let products: GrpcService;
  let orders: GrpcService;
  let inventory: GrpcService;
  let health: GrpcService;
  beforeAll(async () => {
    shop = await startInstallation(topology);
    users = new GrpcService(shop.url, "commerce.user.v1.UserService");
    products = new GrpcService(shop.url, "commerce.product.v1.ProductService");
    orders = new GrpcService(shop.url, "commerce.order.v1.OrderService");
    inventory = new GrpcService(shop.url, "commerce.inventory.v1.InventoryService");
    health = new GrpcService(shop.url, "grpc.health.v1.Health");
  });
  afterAll(async () => {
    for (const service of [users, products, orders, inventory, health]) service.close();
    await shop[Symbol.asyncDispose]();
  });

  async function createUser(): Promise<{ id: string; email: string }> {
    const email = `${randomUUID()}@example.com`;
    const { user } = await users.unary<{ user: { id: string } }>("CreateUser", { email });
    expect(user).toMatchObject({ email, state: "USER_STATE_ACTIVE", version: 1 });
    return { id: user.id, email };
  }

  async function addProduct(): Promise<{ sku: string; product: Product }> {
    const sku = `MUG-${randomUUID()}`;
    const variants = [{ sku, price: { currencyCode: "EUR", amountMinor: "1290" } }];
    const { product } = await products.unary<{ product: Product }>("AddProduct", { title: `Mug ${sku}`, variants });
    expect(product).toMatchObject({ title: `Mug ${sku}`, variants, version: 1 });
    await inventory.unary("AdjustStock", { sku, delta: "100" });
    return { sku, product };
  }

  async function createOrder(waitFor = "WAIT_FOR_RECORDED"): Promise<{ order: Order; userId: string; sku: string }> {
    const [{ id: userId }, { sku }] = await Promise.all([createUser(), addProduct()]);
    const request = { userId, items: [{ sku, quantity: 2 }], waitFor };
    const { order } = await orders.unary<{ order: Order }>("CreateOrder", request);
    return { order, userId, sku };
  }

  test("a user is created", async () => {
    const { id, email } = await createUser();
    expect(await users.unary("GetUser", { id })).toMatchObject({ user: { id, email } });
  });

  test("a product is added and read", async () => {
    const { sku, product } = await addProduct();
    expect(await products.unary("GetProduct", { sku })).toEqual({ product });
  });

  test("an order is created of both", async () => {
    const { order, userId, sku } = await createOrder();
    expect(order).toMatchObject({
      userId,
      state: "ORDER_STATE_PENDING",
      lines: [{ sku, title: `Mug ${sku}`, quantity: 2 }],
      itemsAmount: { currencyCode: "EUR", amountMinor: "2580" },
    });
  });

  test("an order is carried out, and read as it was answered", async () => {
    const { order } = await createOrder("WAIT_FOR_SETTLED");
    expect(order).toMatchObject({ state: "ORDER_STATE_CONFIRMED" });
    expect(await orders.unary("GetOrder", { id: order.id })).toEqual({ order });
  });

  test("all products are streamed, each once", async () => {
    const added = await Promise.all([addProduct(), addProduct(), addProduct()]);
    const ids: string[] = [];
    for await (const chunk of products.serverStream("ListProducts", {})) {
      ids.push(...(chunk as { products: Product[] }).products.map(({ id }) => id));
    }
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toEqual(expect.arrayContaining(added.map(({ product }) => product.id)));
  });

  test("orders are streamed in and results out, the first before the second is sent", async () => {
    const [{ id: userId }, { sku }] = await Promise.all([createUser(), addProduct()]);
    const order = (key: string, quantity: number) => ({ userId, items: [{ sku, quantity }], idempotencyKey: key });
    const stream = orders.bidi("CreateOrders");
    const results: Result[] = [];
    stream.write({ sequence: 1, order: order("one", 1) });
    for await (const message of stream) {
      results.push(message as Result);
      if (results.length > 1) continue;
      stream.write({ sequence: 2, order: order("two", 0) });
      stream.write({ sequence: 3, order: order("three", 3) });
      // Half-closed: what was sent is still answered.
      stream.end();
    }
    expect(results[0]?.sequence).toBe(1);
    const [first, second, third] = results.sort((one, two) => one.sequence - two.sequence);
    expect(second?.error).toMatchObject({ code: status.INVALID_ARGUMENT });
    expect(second?.error?.message).toContain("items[0].quantity");
    const { orders: listed } = await orders.unary<{ orders: Order[] }>("ListOrders", { userId });
    expect(listed.map(({ id }) => id)).toEqual([third?.order?.id, first?.order?.id]);
  });

  test("a refusal carries one status with one ErrorInfo", async () => {
    const { email } = await createUser();
    const error = await errorOf(users.unary("CreateUser", { email }));
    expect(error).toMatchObject({ code: status.ALREADY_EXISTS, details: "A user with this email exists." });
    const details = detailsOf(error);
    expect(details?.status).toMatchObject({ code: status.ALREADY_EXISTS, message: error.details });
    expect(details?.infos).toMatchObject([{ reason: "EMAIL_TAKEN", domain: "connect-commerce" }]);
  });

  test("an internal method is not there", async () => {
    const error = await errorOf(users.unary("BatchGetUsers", { ids: [randomUUID()] }));
    expect(error.code).toBe(status.UNIMPLEMENTED);
    expect(detailsOf(error)?.infos).toMatchObject([{ reason: "UNSUPPORTED_METHOD" }]);
  });

  describe("a deadline that passes", () => {
    /** The client does not keep this deadline itself: whoever ends the call is the server. */
    const keptByServer = () => {
      const metadata = new Metadata();
      metadata.set("grpc-timeout", "300m");
      return { metadata };
    };

    test("ends a call that waits for a database, and the next call is served", async () => {
      const { id } = await createUser();
      const blocker = new Client({ connectionString: shop.databases["user"]?.url });
      await blocker.connect();
      try {
        await blocker.query("begin; lock table users in access exclusive mode");
        const [byServer, byClient] = await Promise.all([
          errorOf(users.unary("GetUser", { id }, keptByServer())),
          errorOf(users.unary("GetUser", { id }, { options: { deadline: Date.now() + 300 } })),
        ]);
        expect([byServer.code, byClient.code]).toEqual([status.DEADLINE_EXCEEDED, status.DEADLINE_EXCEEDED]);
        expect(detailsOf(byServer)?.infos).toMatchObject([{ reason: "DEADLINE" }]);
      } finally {
        await blocker.end();
      }
      expect(await users.unary("GetUser", { id })).toMatchObject({ user: { id } });
    });

    test("ends a stream after what it brought so far", async () => {
      const { order } = await createOrder("WAIT_FOR_SETTLED");
      const stream = orders.serverStream("WatchOrder", { id: order.id }, keptByServer());
      const seen: unknown[] = [];
      const error = await errorOf(
        (async () => {
          for await (const message of stream) seen.push(message);
        })(),
      );
      expect(seen.map((message) => (message as { event: { step: string } }).event.step)).toEqual([
        "ORDER_STEP_PLACED",
        "ORDER_STEP_STOCK_RESERVED",
        "ORDER_STEP_PAYMENT_AUTHORIZED",
        "ORDER_STEP_STOCK_COMMITTED",
        "ORDER_STEP_CONFIRMED",
      ]);
      expect(error.code).toBe(status.DEADLINE_EXCEEDED);
      expect(detailsOf(error)?.infos).toMatchObject([{ reason: "DEADLINE" }]);
    });
  });

  describe("the health service", () => {
    const served = Object.values(registry).flatMap(({ services }) => services.map(({ typeName }) => typeName));

    test.each(["", ...served])("says that %j serves", async (service) => {
      expect(await health.unary("Check", { service })).toEqual({ status: "SERVING" });
    });

    test("does not know what is not there", async () => {
      const error = await errorOf(health.unary("Check", { service: "commerce.cart.v1.CartService" }));
      expect(error.code).toBe(status.NOT_FOUND);
      const stream = health.serverStream("Watch", { service: "commerce.cart.v1.CartService" });
      for await (const message of stream) {
        expect(message).toEqual({ status: "SERVICE_UNKNOWN" });
        break;
      }
    });

    test("tells watchers at once and until they go", async () => {
      const stream = health.serverStream("Watch", {});
      const seen: unknown[] = [];
      const error = await errorOf(
        (async () => {
          for await (const message of stream) {
            seen.push(message);
            stream.cancel();
          }
        })(),
      );
      expect(seen).toEqual([{ status: "SERVING" }]);
      expect(error.code).toBe(status.CANCELLED);
    });
  });
});
