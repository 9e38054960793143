import { generateKeyPair, SignJWT } from "jose";
import type { JWTPayload } from "jose";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { LOGIN_MS } from "../../src/roles/user/login-token.ts";
import { pruneAccounts } from "../../src/roles/user/prune-accounts.ts";
import type { IdTokenMaker } from "../support/openid.ts";
import { CLIENT, REDIRECT_URL } from "../support/openid.ts";
import { until } from "../support/conditions.ts";
import { present, refusal, settled } from "../support/role.ts";
import { PASSWORD, accountsOf, admin } from "./auth-support.ts";
import type { Back } from "./openid-support.ts";
import { newPerson, startWithProviders } from "./openid-support.ts";

let shop: Awaited<ReturnType<typeof startWithProviders>>;
beforeAll(async () => {
  shop = await startWithProviders();
});
afterEach(() => {
  shop.forged.idToken = undefined;
  shop.forged.answer = undefined;
  shop.forged.slowness = 0;
});
afterAll(() => shop[Symbol.asyncDispose]());

/** What is wrong with what the browser comes back with, at the real provider. */
const wrongAnswers: Readonly<Record<string, (back: Back) => Promise<Back> | Back>> = {
  "a code that nobody was given": (back) => ({ ...back, code: "no-such-code" }),
  "no code": (back) => ({ ...back, code: "" }),
  "an error of the provider": (back) => ({ ...back, code: "", error: "access_denied" }),
  "the state of another login": async (back) => ({ ...back, state: (await shop.backFromReal(newPerson())).state }),
  "no state": (back) => ({ ...back, state: "" }),
  "the code of another login, by its PKCE challenge": async (back) => ({
    ...back,
    code: (await shop.backFromReal(newPerson())).code,
  }),
  "the issuer of another provider": (back) => ({ ...back, iss: shop.forged.issuer }),
  "no issuer where the provider says it": (back) => ({ ...back, iss: "" }),
  "the token of another login": async (back) => ({ ...back, loginToken: (await shop.begin("real")).loginToken }),
  "the token of a login at another provider, with its state": async (back) => {
    const { authorizationUrl, loginToken } = await shop.begin("forged");
    return { ...back, loginToken, state: shop.forged.visit(authorizationUrl).state };
  },
  "a token that is none": (back) => ({ ...back, loginToken: "none" }),
  "a token that was changed": (back) => ({
    ...back,
    loginToken: back.loginToken.replace(/^./, (first) => (first === "A" ? "B" : "A")),
  }),
  "a token in another spelling": (back) => ({ ...back, loginToken: `${back.loginToken}=` }),
  "the token of a login that is to be linked": async (back) => {
    const { authorizationUrl, loginToken } = await shop.begin("real", { link: true }, admin);
    const person = newPerson();
    shop.real.people.set(person.sub, person);
    return { ...back, ...(await shop.real.visit(authorizationUrl, person.sub)), loginToken };
  },
};

test.each(Object.keys(wrongAnswers))("refused without a trace: %s", async (what) => {
  const back = await shop.backFromReal(newPerson());
  const wrong = await present(wrongAnswers[what])(back);
  const before = await shop.traces();
  const { kind, reason, details } = await refusal(shop.finish(wrong));
  expect({ kind, reason, details }).toEqual({ kind: "unauthenticated", reason: "OPENID_LOGIN_INVALID", details: {} });
  expect(await shop.traces()).toEqual(before);
});

test("who declines at the provider comes back with its error", async () => {
  const { authorizationUrl, loginToken } = await shop.begin("real");
  const declined = await shop.real.visit(authorizationUrl, undefined);
  expect(declined).toMatchObject({ code: "", error: "access_denied" });
  expect((await refusal(shop.finish({ ...declined, loginToken }))).reason).toBe("OPENID_LOGIN_INVALID");
});

test.each(["backFromReal", "backFromForged"] as const)(
  "a login serves once, here and in another process: %s",
  async (by) => {
    // The forged one takes a code as often as it comes.
    const back = await shop[by](newPerson());
    const replica = accountsOf(shop.role, await shop.role.replica());
    const calls = Array.from({ length: 6 }, (_, index) =>
      (index % 2 === 0 ? shop.accounts : replica).auth().finishOpenIdLogin(back),
    );
    const { answers, reasons } = await settled(calls);
    expect(answers).toHaveLength(1);
    expect(new Set(reasons)).toEqual(new Set(["OPENID_LOGIN_INVALID"]));
    expect(await shop.accounts.sessionIdsOf(present(answers[0]?.user))).toHaveLength(1);
    expect((await refusal(shop.finish(back))).reason).toBe("OPENID_LOGIN_INVALID");
  },
);

test("a code that was used is not taken with the token of another login", async () => {
  const back = await shop.backFromReal();
  await shop.finish(back);
  const { loginToken, state } = await shop.backFromReal();
  expect((await refusal(shop.finish({ ...back, loginToken, state }))).reason).toBe("OPENID_LOGIN_INVALID");
});

test("a login is over after ten minutes; that its token was used is forgotten then", async () => {
  const used = await shop.backFromForged();
  await shop.finish(used);
  const late = await shop.backFromForged();
  shop.role.clock.advance(LOGIN_MS);
  expect((await refusal(shop.finish(late))).reason).toBe("OPENID_LOGIN_INVALID");
  expect((await refusal(shop.finish(used))).reason).toBe("OPENID_LOGIN_INVALID");
  shop.role.clock.advance(1);
  await pruneAccounts({ db: shop.accounts.db, clock: shop.role.clock });
  expect(await shop.accounts.db.selectFrom("used_login_tokens").selectAll().execute()).toEqual([]);
});

const none = (claims: JWTPayload) =>
  `${[{ alg: "none" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".")}.`;

const without = (name: string, claims: JWTPayload): JWTPayload =>
  Object.fromEntries(Object.entries(claims).filter(([key]) => key !== name));

/** ID tokens that no shop may take. */
const wrongTokens: Readonly<Record<string, (maker: IdTokenMaker) => Promise<string> | string>> = {
  "another nonce": ({ claims, sign }) => sign({ ...claims, nonce: "another" }),
  "no nonce": ({ claims, sign }) => sign(without("nonce", claims)),
  "another audience": ({ claims, sign }) => sign({ ...claims, aud: "another-shop" }),
  "more audiences, and no word of who asked": ({ claims, sign }) =>
    sign({ ...claims, aud: [CLIENT.client_id, "another-shop"], azp: "another-shop" }),
  "another issuer": ({ claims, sign }) => sign({ ...claims, iss: shop.real.issuer }),
  expired: ({ claims, sign }) => sign({ ...claims, iat: 1_700_000_000, exp: 1_700_000_600 }),
  "no expiry": ({ claims, sign }) => sign(without("exp", claims)),
  "no subject": ({ claims, sign }) => sign(without("sub", claims)),
  "a subject that is too long": ({ claims, sign }) => sign({ ...claims, sub: "x".repeat(256) }),
  "no signature, alg none": ({ claims }) => none(claims),
  "the signature of another key": async ({ claims, sign }) => sign(claims, (await generateKeyPair("RS256")).privateKey),
  "a signature with the client's secret": ({ claims }) =>
    new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).sign(Buffer.from(CLIENT.client_secret)),
  "other claims under the same signature": async ({ claims, sign }) => {
    const [header = "", , signature = ""] = (await sign(claims)).split(".");
    const changed = Buffer.from(JSON.stringify({ ...claims, sub: "another" })).toString("base64url");
    return [header, changed, signature].join(".");
  },
  "no ID token": () => "",
};

test.each(Object.keys(wrongTokens))("an ID token is refused without a trace: %s", async (what) => {
  const back = await shop.backFromForged();
  shop.forged.idToken = present(wrongTokens[what]);
  const before = await shop.traces();
  const { kind, reason } = await refusal(shop.finish(back));
  expect({ kind, reason }).toEqual({ kind: "unauthenticated", reason: "OPENID_LOGIN_INVALID" });
  expect(await shop.traces()).toEqual(before);
});

test("the code is exchanged with the verifier of the challenge, and by the client's secret", async () => {
  shop.forged.exchanges.length = 0;
  const back = await shop.backFromForged();
  await shop.finish(back);
  expect(shop.forged.exchanges.map((body) => Object.fromEntries(body))).toEqual([
    {
      grant_type: "authorization_code",
      code: back.code,
      redirect_uri: REDIRECT_URL,
      code_verifier: expect.stringMatching(/^[\w-]{43}$/),
      ...CLIENT,
    },
  ]);
});

test("logins at providers from an address are limited with the others", async () => {
  const headers = { "x-client-address": "192.0.2.77" };
  const none = { loginToken: "none", code: "", state: "", iss: "", error: "" };
  const { reasons } = await settled(Array.from({ length: 55 }, () => shop.finish(none, headers)));
  expect(reasons.filter((reason) => reason === "RATE_LIMITED")).toHaveLength(5);
  expect(
    (await refusal(shop.accounts.auth().login({ email: "a@example.com", password: PASSWORD }, { headers }))).reason,
  ).toBe("RATE_LIMITED");
});

test("a provider that is down, ill or slow is told as such, and the same login goes on when it is back", async () => {
  const down = { kind: "unavailable", reason: "PEER_DOWN" };
  expect(await refusal(shop.begin("gone"))).toMatchObject({ ...down, details: { retryAfterMs: 1_000 } });
  const before = await shop.traces();
  const back = await shop.backFromForged();
  const ill = [
    { path: "/token", status: 500, body: {} },
    { path: "/token", status: 401, body: { error: "invalid_client" } },
    { path: "/token", status: 503, body: "busy" },
    { path: "/keys", status: 500, body: {} },
  ];
  for (const answer of ill) {
    shop.forged.answer = answer;
    // A key that is known would not be asked for.
    const by = accountsOf(shop.role, await shop.role.replica());
    expect(await refusal(by.auth().finishOpenIdLogin(back))).toMatchObject(down);
  }
  shop.forged.answer = undefined;
  // What it says of itself, the code and the keys: each in time, and together not.
  shop.forged.slowness = 2_000;
  const startedAt = performance.now();
  const by = accountsOf(shop.role, await shop.role.replica());
  expect(await refusal(by.auth().finishOpenIdLogin(back))).toMatchObject(down);
  expect(performance.now() - startedAt).toBeLessThan(7_000);
  expect(await shop.traces()).toEqual(before);
  shop.forged.slowness = 0;
  await shop.finish(back);
});

test("a provider that says it is another is not used", async () => {
  shop.forged.answer = {
    path: "/.well-known/openid-configuration",
    status: 200,
    body: {
      issuer: shop.real.issuer,
      authorization_endpoint: `${shop.forged.issuer}/a`,
      token_endpoint: `${shop.forged.issuer}/token`,
    },
  };
  const replica = accountsOf(shop.role, await shop.role.replica());
  expect((await refusal(replica.auth().startOpenIdLogin({ provider: "forged" }))).reason).toBe("PEER_DOWN");
  shop.forged.answer = undefined;
  // What failed is not kept.
  await until(async () => (await replica.auth().startOpenIdLogin({ provider: "forged" })).loginToken !== "");
});
