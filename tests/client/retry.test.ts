import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { create, fromJsonString, toJsonString } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { codeToHttpStatus, errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { describe, expect, test } from "vitest";
import { OrderService } from "../../clients/ts/src/gen/commerce/order/v1/order_pb.ts";
import { AuthService } from "../../clients/ts/src/gen/commerce/user/v1/auth_pb.ts";
import { ErrorInfoSchema, RetryInfoSchema } from "../../clients/ts/src/gen/google/rpc/error_details_pb.ts";
import type { Shop, ShopOptions, Tokens } from "../../clients/ts/src/index.ts";
import { createShop, metadataOf, reasonOf, retryDelayOf } from "../../clients/ts/src/index.ts";

const RETRY_MS = 150;

/** A refusal as the shop sends it. */
function refusal(code: Code, reason: string, retryMs?: number): Response {
  const retry = { desc: RetryInfoSchema, value: { retryDelay: { nanos: (retryMs ?? 0) * 1_000_000 } } };
  const info = { desc: ErrorInfoSchema, value: { reason, domain: "connect-commerce", metadata: { a: "b" } } };
  const error = new ConnectError("no", code, undefined, retryMs === undefined ? [info] : [info, retry]);
  const headers = { "content-type": "application/json" };
  return new Response(errorToJsonBytes(error, {}), { status: codeToHttpStatus(code), headers });
}

const unavailable = () => refusal(Code.Unavailable, "OVERLOADED", 0);

function answer<D extends DescMessage>(desc: D, message: MessageInitShape<D>): Response {
  return new Response(toJsonString(desc, create(desc, message)), { headers: { "content-type": "application/json" } });
}

interface Asked {
  readonly method: string;
  readonly body: string;
  readonly as: string | null;
}

type Answer = (asked: Asked, count: number) => Response | Promise<Response>;

/** A client of a shop that answers so; and what it was asked. */
function shopThat(respond: Answer, options: Partial<ShopOptions> = {}): { shop: Shop; asked: Asked[] } {
  const asked: Asked[] = [];
  const shop = createShop({
    baseUrl: "https://shop.example",
    async fetch(input, init) {
      const call = {
        method: new Request(input).url.split("/").pop() ?? "",
        body: new TextDecoder().decode(init?.body as Uint8Array),
        as: new Headers(init?.headers).get("authorization"),
      };
      asked.push(call);
      return respond(call, asked.length);
    },
    ...options,
  });
  return { shop, asked };
}

const failureOf = (call: Promise<unknown>) =>
  call.then(
    () => undefined,
    (error: unknown) => ConnectError.from(error),
  );

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

describe("a session", () => {
  const { login, refresh, logout } = AuthService.method;
  const pair = (name: string, endsInMs: number) => ({
    accessToken: `${name} access`,
    accessTokenExpiresAt: timestampFromMs(Date.now() + endsInMs),
    refreshToken: `${name} refresh`,
  });
  /** Where the tokens of a test are kept. */
  function storeOf(kept: Tokens | undefined) {
    const store = { kept, load: () => store.kept, save: (tokens: Tokens | undefined) => void (store.kept = tokens) };
    return store;
  }
  const past = () => ({ accessToken: "old access", accessTokenExpiresAt: Date.now() - 1, refreshToken: "old refresh" });

  test("of a machine whose clock is wrong is not refreshed with each call", async () => {
    const { shop, asked } = shopThat(({ method }) =>
      method === "Login" ? answer(login.output, pair("new", -3_600_000)) : answer(createOrder.output, {}),
    );
    await shop.login({ email: "a@example.com", password: "p" });
    await shop.orders.createOrder({});
    await shop.orders.createOrder({});
    expect(asked.map(({ method }) => method)).toEqual(["Login", "CreateOrder", "CreateOrder"]);
  });

  test("outlives a shop that cannot be reached", async () => {
    const tokens = storeOf(past());
    const ends: string[] = [];
    const { shop } = shopThat(unavailable, { tokens, onLoggedOut: (why) => ends.push(why) });
    expect(reasonOf(await failureOf(shop.users.removeAddress({ id: "1" })))).toBe("OVERLOADED");
    expect([tokens.kept?.refreshToken, ends]).toEqual(["old refresh", []]);
  });

  test("that another login replaces does not come back, and its calls are not made as the other", async () => {
    const tokens = storeOf(past());
    let begun = () => {};
    const whenBegun = new Promise<void>((resolve) => (begun = resolve));
    let refreshed = (_answer: Response) => {};
    const { shop, asked } = shopThat(
      ({ method }) => {
        if (method === "Login") return answer(login.output, pair("their", 600_000));
        if (method === "GetOrder") return shop.login({ email: "a@example.com", password: "p" }).then(unavailable);
        if (method !== "Refresh") return answer(createOrder.output, {});
        begun();
        return new Promise((resolve) => (refreshed = resolve));
      },
      { tokens },
    );
    const call = shop.orders.createOrder({});
    await whenBegun;
    await shop.login({ email: "a@example.com", password: "p" });
    refreshed(answer(refresh.output, pair("new", 600_000)));
    await call;
    expect(tokens.kept?.accessToken).toBe("their access");
    expect(asked.at(-1)).toMatchObject({ method: "CreateOrder", as: null });
    // Somebody logs in while this waits to be tried again.
    await failureOf(shop.orders.getOrder({ id: "1" }));
    const tries = asked.filter(({ method }) => method === "GetOrder");
    expect(tries.map((call) => call.as)).toEqual(["Bearer their access", null, null]);
  });

  test("ends in the shop too where its access token is over, and here before that", async () => {
    const tokens = storeOf(past());
    const ends: string[] = [];
    const { shop, asked } = shopThat(
      ({ method }, count) => {
        expect(tokens.kept).toBeUndefined();
        if (method === "Refresh") return answer(refresh.output, pair("new", 600_000));
        return count === 1 ? refusal(Code.Unauthenticated, "TOKEN_EXPIRED") : answer(logout.output, {});
      },
      { tokens, onLoggedOut: (why) => ends.push(why) },
    );
    await shop.logout();
    expect(asked.map(({ method }) => method)).toEqual(["Logout", "Refresh", "Logout"]);
    await shop.logout();
    expect([tokens.kept, ends, asked.length]).toEqual([undefined, ["asked"], 3]);
  });

  test("asks for its tokens again where the answer is lost, also for a call that is made once", async () => {
    const { shop, asked } = shopThat(
      ({ method }, count) => {
        if (count === 1) throw new TypeError("the answer was lost");
        return method === "Refresh" ? answer(refresh.output, pair("new", 600_000)) : answer(createOrder.output, {});
      },
      { tokens: storeOf(past()) },
    );
    await shop.users.removeAddress({ id: "1" });
    expect(asked.map(({ method }) => method)).toEqual(["Refresh", "Refresh", "RemoveAddress"]);
  });

  test("of two tabs takes the tokens of the one that was faster", async () => {
    const tokens = storeOf(past());
    const used: (string | null)[] = [];
    const { shop } = shopThat(
      ({ method }) => {
        if (method !== "Refresh") return answer(createOrder.output, {});
        tokens.kept = {
          accessToken: "their access",
          accessTokenExpiresAt: Date.now() + 600_000,
          refreshToken: "their refresh",
        };
        return refusal(Code.Unauthenticated, "TOKEN_INVALID");
      },
      { tokens, onLoggedOut: (why) => used.push(why) },
    );
    await shop.orders.createOrder({});
    expect([tokens.kept?.accessToken, used]).toEqual(["their access", []]);
  });
});
