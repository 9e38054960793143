import { setImmediate } from "node:timers/promises";
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { OrderService } from "../../clients/ts/src/gen/commerce/order/v1/order_pb.ts";
import { AuthService } from "../../clients/ts/src/gen/commerce/user/v1/auth_pb.ts";
import { reasonOf } from "../../clients/ts/src/index.ts";
import { until } from "../support/conditions.ts";
import {
  kept,
  past,
  credentials,
  storeOf,
  answers,
  fresh,
  refused,
  noRefresh,
  TEN_MINUTES_MS,
} from "./fake-session.ts";
import { answer, failureOf, shopThat, unavailable } from "./fake-shop.ts";

const { logout } = AuthService.method;
const { createOrder } = OrderService.method;
const loggedOut = { code: Code.Unauthenticated, rawMessage: expect.stringMatching(/^logged out/) };

describe("a call that another login, or none, overtakes", () => {
  test.each([
    ["takes", () => fresh("new")],
    ["refuses", refused],
  ])("fails while it waits for a refresh, which the shop %s", async (_what, refreshed) => {
    const tokens = storeOf(past());
    const end = Promise.withResolvers<undefined>();
    const { shop, asked } = shopThat(
      answers(["their"], () => end.promise.then(refreshed)),
      { tokens },
    );
    const failure = failureOf(shop.orders.createOrder({}));
    await until(() => asked.length === 1);
    await shop.login(credentials);
    end.resolve(undefined);
    expect(await failure).toMatchObject(loggedOut);
    expect(asked.map(({ method }) => method)).toEqual(["Refresh", "Login"]);
    expect(tokens.kept?.accessToken).toBe("their access");
  });

  test("fails with the shop's refusal of its own token", async () => {
    const end = Promise.withResolvers<undefined>();
    const { shop, asked } = shopThat(
      answers(["my", "their"], () => end.promise.then(refused), refused),
      { tokens: storeOf(undefined) },
    );
    await shop.login(credentials);
    const failure = failureOf(shop.orders.createOrder({}));
    await until(() => asked.at(-1)?.method === "Refresh");
    await shop.login(credentials);
    end.resolve(undefined);
    expect(reasonOf(await failure)).toBe("TOKEN_INVALID");
    expect(asked.filter(({ method }) => method === "CreateOrder").map(({ as }) => as)).toEqual(["Bearer my access"]);
  });

  test.each(["a try of its own", "a refresh"])("fails where it would be made again after %s", async (what) => {
    const tokens = storeOf(what === "a refresh" ? past() : kept("my", TEN_MINUTES_MS, "mine"));
    // Another tab of the same browser.
    const other = shopThat(answers(["their"], noRefresh), { tokens });
    const fail = () => other.shop.login(credentials).then(unavailable);
    const { shop, asked } = shopThat(answers([], fail, fail), { tokens });
    // The client's own tries of a refresh come before those of the call.
    const failure = await failureOf(shop.orders.createOrder({}));
    expect(failure).toMatchObject(loggedOut);
    expect(asked.filter(({ as }) => as?.startsWith("Bearer their"))).toEqual([]);
  });

  test("fails where it would be made again after a logout", async () => {
    const { shop, asked } = shopThat(
      answers(["my"], noRefresh, ({ method }) =>
        method === "Logout" ? answer(logout.output, {}) : shop.logout().then(unavailable),
      ),
    );
    await shop.login(credentials);
    expect(await failureOf(shop.orders.createOrder({}))).toMatchObject(loggedOut);
    expect(asked.map(({ method }) => method)).toEqual(["Login", "CreateOrder", "Logout"]);
  });

  test("fails where its stream was cut", async () => {
    const cut = Promise.withResolvers<undefined>();
    const headers = { "content-type": "application/connect+json" };
    const pull = () => cut.promise.then(() => Promise.reject(new TypeError("the connection was cut")));
    const { shop, asked } = shopThat(
      answers(["my", "their"], noRefresh, () => new Response(new ReadableStream({ pull }), { headers })),
    );
    await shop.login(credentials);
    const watching = failureOf(shop.orders.watchOrder({ id: "1" })[Symbol.asyncIterator]().next());
    await until(() => asked.length === 2);
    await shop.login(credentials);
    cut.resolve(undefined);
    expect(await watching).toMatchObject(loggedOut);
    expect(asked.filter(({ method }) => method === "WatchOrder").map(({ as }) => as)).toEqual(["Bearer my access"]);
  });

  test("stays nobody's where nobody had begun it", async () => {
    const { shop, asked } = shopThat(
      answers(["their"], noRefresh, (_call, count) =>
        count === 1 ? shop.login(credentials).then(unavailable) : answer(createOrder.output, {}),
      ),
    );
    await shop.products.queryProducts({});
    expect(asked.map(({ method, as }) => [method, as])).toEqual([
      ["QueryProducts", null],
      ["Login", null],
      ["QueryProducts", null],
    ]);
  });
});

describe("a refresh that ends after", () => {
  /** Two tabs with one store, of which the first is refreshing its tokens until told. */
  async function refreshing(tokens = storeOf(kept("my", 10_000, "mine"))) {
    const end = Promise.withResolvers<undefined>();
    const ends: string[] = [];
    const first = shopThat(
      answers(["their"], () => end.promise.then(() => fresh("my new"))),
      { tokens, onLoggedOut: (why) => ends.push(why) },
    );
    const second = shopThat(
      answers(["their"], noRefresh, () => answer(logout.output, {})),
      { tokens },
    );
    // It goes out with the token that is about to end.
    await first.shop.orders.createOrder({});
    expect(first.asked.map(({ method }) => method).sort()).toEqual(["CreateOrder", "Refresh"]);
    const finish = async () => {
      end.resolve(undefined);
      // Until the refresh has done with its answer what it does.
      await setImmediate();
      await first.shop.orders.createOrder({});
    };
    return { tokens, first, second, ends, finish };
  }

  test("another tab's login leaves that alone, and does not hold its calls up", async () => {
    const { tokens, first, second, ends, finish } = await refreshing();
    await second.shop.login(credentials);
    await first.shop.orders.createOrder({});
    expect(first.asked.at(-1)?.as).toBe("Bearer their access");
    await finish();
    expect([tokens.kept?.accessToken, first.asked.at(-1)?.as]).toEqual(["their access", "Bearer their access"]);
    expect(ends).toEqual([]);
  });

  test("another tab's logout brings nobody back", async () => {
    const { tokens, first, second, ends, finish } = await refreshing();
    await second.shop.logout();
    await finish();
    expect([tokens.kept, first.asked.at(-1)?.as, ends]).toEqual([undefined, null, []]);
  });

  test("neither login waits for the tokens of the other", async () => {
    const tokens = storeOf(kept("my", -1, "mine"));
    const end = Promise.withResolvers<undefined>();
    const { shop, asked } = shopThat(
      answers([], ({ body }) =>
        body.includes("my refresh") ? end.promise.then(() => fresh("my new")) : fresh("their new"),
      ),
      { tokens },
    );
    const mine = failureOf(shop.orders.createOrder({}));
    await until(() => asked.length === 1);
    // Another tab has logged in, a while ago.
    tokens.kept = kept("their", -1, "theirs");
    await shop.orders.createOrder({});
    expect(asked.at(-1)?.as).toBe("Bearer their new access");
    end.resolve(undefined);
    expect(await mine).toMatchObject(loggedOut);
    expect(tokens.kept).toMatchObject({ accessToken: "their new access", login: "theirs" });
  });

  test("a login has begun to be kept leaves that alone, and no call begins another then", async () => {
    const isKept = Promise.withResolvers<undefined>();
    let isKeeping = false;
    const tokens = storeOf(kept("my", 10_000, "mine"), async (next) => {
      isKeeping = true;
      if (next?.accessToken === "their access") await isKept.promise;
    });
    const { first, finish } = await refreshing(tokens);
    const whenLoggedIn = first.shop.login(credentials);
    await until(() => isKeeping);
    const calls = [first.shop.orders.createOrder({}), finish()];
    isKept.resolve(undefined);
    await Promise.all([whenLoggedIn, ...calls]);
    expect(first.asked.filter(({ method }) => method === "Refresh")).toHaveLength(1);
    expect(first.asked.filter(({ method }) => method === "CreateOrder").map(({ as }) => as)).toEqual([
      "Bearer my access",
      "Bearer their access",
      "Bearer their access",
    ]);
    expect(tokens.kept?.accessToken).toBe("their access");
  });
});

describe("a caller who does not wait for a refresh that hangs", () => {
  test.each([
    ["time", () => ({ timeoutMs: 50 }), Code.DeadlineExceeded],
    ["signal", () => ({ signal: AbortSignal.timeout(50) }), Code.Canceled],
  ] as const)("leaves by its %s, and the others get its tokens", async (_what, options, code) => {
    const end = Promise.withResolvers<undefined>();
    const { shop, asked } = shopThat(
      answers([], () => end.promise.then(() => fresh("new"))),
      { tokens: storeOf(past()) },
    );
    const other = shop.orders.createOrder({});
    expect(await failureOf(shop.orders.createOrder({}, options()))).toMatchObject({ code });
    const stream = shop.orders.watchOrder({ id: "1" }, options());
    expect(await failureOf(stream[Symbol.asyncIterator]().next())).toMatchObject({ code });
    end.resolve(undefined);
    await other;
    expect(asked.map(({ method, as }) => [method, as])).toEqual([
      ["Refresh", null],
      ["CreateOrder", "Bearer new access"],
    ]);
  });

  test("leaves also where the shop has refused its token", async () => {
    const end = Promise.withResolvers<Response>();
    const { shop, asked } = shopThat(
      answers([], () => end.promise, refused),
      { tokens: storeOf(kept("my")) },
    );
    const failure = await failureOf(shop.orders.createOrder({}, { timeoutMs: 50 }));
    expect(failure).toMatchObject({ code: Code.DeadlineExceeded });
    expect(asked.map(({ method }) => method)).toEqual(["CreateOrder", "Refresh"]);
    end.resolve(refused());
  });
});
