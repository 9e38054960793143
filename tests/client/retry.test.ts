import { create, fromJsonString } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { OrderService } from "../../clients/ts/src/gen/commerce/order/v1/order_pb.ts";
import { metadataOf, reasonOf, retryDelayOf } from "../../clients/ts/src/index.ts";
import type { Asked } from "./fake-shop.ts";
import { answer, failureOf, refusal, shopThat, unavailable } from "./fake-shop.ts";

const RETRY_MS = 150;
const item = { sku: "MUG-1", quantity: 1 };
const { createOrder, batchCreateOrders } = OrderService.method;
const keyOf = ({ body }: Asked) => fromJsonString(createOrder.input, body).idempotencyKey;

describe("a call that fails for a moment", () => {
  test("is tried three times in all", async () => {
    const { shop, asked } = shopThat(unavailable);
    expect(reasonOf(await failureOf(shop.orders.getOrder({ id: "1" })))).toBe("OVERLOADED");
    expect(asked).toHaveLength(3);
  });

  test("and changes something has one key for all tries, and another call another", async () => {
    const { shop, asked } = shopThat((_call, count) =>
      count % 2 === 1 ? unavailable() : answer(createOrder.output, {}),
    );
    await shop.orders.createOrder({ items: [item] });
    await shop.orders.createOrder({ items: [item] });
    await shop.orders.createOrder({ items: [item], idempotencyKey: "mine" });
    const keys = asked.map(keyOf);
    expect(keys.map((key) => keys.indexOf(key))).toEqual([0, 0, 2, 2, 4, 4]);
    expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(keys[4]).toBe("mine");
  });

  test("and has many orders has a key for each", async () => {
    const { shop, asked } = shopThat((_call, count) =>
      count === 1 ? unavailable() : answer(batchCreateOrders.output, {}),
    );
    const request = create(batchCreateOrders.input, { orders: [{ items: [item] }, { items: [item] }] });
    await shop.orders.batchCreateOrders(request);
    const [first, second] = asked.map(({ body }) =>
      fromJsonString(batchCreateOrders.input, body).orders.map((order) => order.idempotencyKey),
    );
    expect(first).toEqual(second);
    expect(new Set(first).size).toBe(2);
    // The caller's message stays as it was.
    expect(request.orders.map((order) => order.idempotencyKey)).toEqual(["", ""]);
  });

  test("is tried again while its first try is still running", async () => {
    const { shop, asked } = shopThat((_call, count) =>
      count === 1 ? refusal(Code.Aborted, "IDEMPOTENCY_IN_PROGRESS", 0) : answer(createOrder.output, {}),
    );
    await shop.orders.createOrder({ items: [item] });
    expect(asked).toHaveLength(2);
  });

  test("waits as long as the shop says", async () => {
    const { shop } = shopThat((_call, count) =>
      count === 1 ? refusal(Code.Unavailable, "OVERLOADED", RETRY_MS) : answer(createOrder.output, {}),
    );
    const begun = performance.now();
    await shop.orders.createOrder({ items: [item] });
    expect(performance.now() - begun).toBeGreaterThan(RETRY_MS - 2);
  });

  test("is not tried again where that could do it twice, or cannot help", async () => {
    const { shop, asked } = shopThat(unavailable);
    await failureOf(shop.users.removeAddress({ id: "1" }));
    await failureOf(shop.login({ email: "a@example.com", password: "p" }));
    expect(asked.map(({ method }) => method)).toEqual(["RemoveAddress", "Login"]);
    for (const [code, reason] of [
      [Code.NotFound, "NOT_FOUND"],
      [Code.DeadlineExceeded, "DEADLINE"],
      [Code.ResourceExhausted, "RATE_LIMITED"],
    ] as const) {
      const other = shopThat(() => refusal(code, reason, 0));
      expect(reasonOf(await failureOf(other.shop.orders.getOrder({ id: "1" })))).toBe(reason);
      expect(other.asked).toHaveLength(1);
    }
  });

  test("is tried again where nothing answers, and says so in the end", async () => {
    const { shop, asked } = shopThat(() => Promise.reject(new TypeError("fetch failed")));
    const error = await failureOf(shop.orders.getOrder({ id: "1" }));
    expect(error).toMatchObject({ code: Code.Unavailable, cause: { message: "fetch failed" } });
    expect(reasonOf(error)).toBeUndefined();
    expect(asked).toHaveLength(3);
  });

  test("ends at once when its caller leaves", async () => {
    const { shop, asked } = shopThat(() => refusal(Code.Unavailable, "OVERLOADED", 900));
    // While the client waits to try again.
    const signal = AbortSignal.timeout(50);
    const begun = performance.now();
    const error = await failureOf(shop.orders.getOrder({ id: "1" }, { signal }));
    expect(error?.code).toBe(Code.Canceled);
    expect(asked).toHaveLength(1);
    expect(performance.now() - begun).toBeLessThan(800);
  });

  test("is tried once where most calls fail", async () => {
    const { shop, asked } = shopThat(unavailable);
    await Promise.all(Array.from({ length: 40 }, () => failureOf(shop.orders.getOrder({ id: "1" }))));
    expect(asked.length).toBeGreaterThan(40);
    expect(asked.length).toBeLessThanOrEqual(40 + 10 + 4);
  });
});

test("what an error says", async () => {
  const { shop } = shopThat(() => refusal(Code.ResourceExhausted, "RATE_LIMITED", RETRY_MS));
  const error = await failureOf(shop.orders.getOrder({ id: "1" }));
  expect([reasonOf(error), retryDelayOf(error), metadataOf(error)]).toEqual(["RATE_LIMITED", RETRY_MS, { a: "b" }]);
  const newer = shopThat(() => refusal(Code.NotFound, "A_REASON_OF_TOMORROW"));
  expect(reasonOf(await failureOf(newer.shop.orders.getOrder({ id: "1" })))).toBeUndefined();
  expect([reasonOf(new Error("no")), reasonOf(undefined), retryDelayOf("no")]).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
});
