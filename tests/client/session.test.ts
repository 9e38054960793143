import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { OrderService } from "../../clients/ts/src/gen/commerce/order/v1/order_pb.ts";
import { AuthService } from "../../clients/ts/src/gen/commerce/user/v1/auth_pb.ts";
import { reasonOf } from "../../clients/ts/src/index.ts";
import { pair, kept, past, credentials, storeOf, answers, fresh, refused } from "./fake-session.ts";
import { answer, failureOf, refusal, shopThat, unavailable } from "./fake-shop.ts";

const { login, logout, finishOpenIdLogin } = AuthService.method;
const { createOrder } = OrderService.method;

describe("a session", () => {
  test("of a machine whose clock is wrong is not refreshed with each call", async () => {
    const { shop, asked } = shopThat(({ method }) =>
      method === "Login" ? answer(login.output, pair("new", -3_600_000)) : answer(createOrder.output, {}),
    );
    await shop.login(credentials);
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

  test("ends in the shop too where its access token is over, and here before that", async () => {
    const tokens = storeOf(past());
    const ends: string[] = [];
    const { shop, asked } = shopThat(
      ({ method }, count) => {
        expect(tokens.kept).toBeUndefined();
        if (method === "Refresh") return fresh("new");
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
        return method === "Refresh" ? fresh("new") : answer(createOrder.output, {});
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
        tokens.kept = kept("their");
        return refusal(Code.Unauthenticated, "TOKEN_INVALID");
      },
      { tokens, onLoggedOut: (why) => used.push(why) },
    );
    await shop.orders.createOrder({});
    expect([tokens.kept?.accessToken, used]).toEqual(["their access", []]);
  });

  test("kept by an older version, without an id of its login, goes on until another begins", async () => {
    const tokens = storeOf(past());
    const { shop, asked } = shopThat(
      answers(["their"], () => fresh("new")),
      { tokens },
    );
    await shop.orders.createOrder({});
    expect([asked.at(-1)?.as, tokens.kept?.login]).toEqual(["Bearer new access", undefined]);
    await shop.login(credentials);
    const { login: first } = tokens.kept ?? {};
    expect(first).toMatch(/^[0-9a-f]{32}$/);
    await shop.login(credentials);
    expect(tokens.kept?.login).not.toBe(first);
  });

  test("begins with what an OpenID provider answered", async () => {
    const tokens = storeOf(undefined);
    const { shop, asked } = shopThat(
      ({ method }) =>
        method === "FinishOpenIdLogin"
          ? answer(finishOpenIdLogin.output, { ...pair("their"), user: { id: "u" }, returnTo: "/checkout" })
          : answer(createOrder.output, {}),
      { tokens },
    );
    const done = await shop.finishOpenIdLogin({ loginToken: "l", code: "c", state: "s" });
    expect([done.user?.id, done.returnTo]).toEqual(["u", "/checkout"]);
    await shop.orders.createOrder({});
    expect(asked.map(({ method, as }) => [method, as])).toEqual([
      ["FinishOpenIdLogin", null],
      ["CreateOrder", "Bearer their access"],
    ]);
    expect(tokens.kept?.login).toMatch(/^[0-9a-f]{32}$/);
  });

  test("that the shop has ended is nobody's from the first call on", async () => {
    const ends: string[] = [];
    const { shop, asked } = shopThat(
      answers([], refused, (_call, count) => (count === 2 ? unavailable() : answer(createOrder.output, {}))),
      { tokens: storeOf(past()), onLoggedOut: (why) => ends.push(why) },
    );
    await Promise.all([shop.products.queryProducts({}), shop.products.queryProducts({})]);
    expect(asked.map(({ method, as }) => [method, as])).toEqual([
      ["Refresh", null],
      ["QueryProducts", null],
      ["QueryProducts", null],
      ["QueryProducts", null],
    ]);
    expect(ends).toEqual(["ended"]);
  });
});
