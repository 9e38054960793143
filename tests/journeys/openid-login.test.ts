import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import type { RealProvider } from "../support/openid.ts";
import { CLIENT, REDIRECT_URL, startRealProvider } from "../support/openid.ts";

/** Headers that a browser sends with JSON. */
const headers = { "content-type": "application/json", "user-agent": "a browser" };

describe.each(topologies)("login at a provider, %s", (topology) => {
  let provider: RealProvider;
  let shop: Installation;
  beforeAll(async () => {
    provider = await startRealProvider();
    const providers = {
      real: { label: "Real", issuer: provider.issuer, ...CLIENT },
      gone: { issuer: "http://127.0.0.1:1", ...CLIENT },
    };
    shop = await startInstallation(topology, {
      OPENID_PROVIDERS: JSON.stringify(providers),
      OPENID_REDIRECT_URL: REDIRECT_URL,
    });
  });
  afterAll(async () => {
    await shop[Symbol.asyncDispose]();
    await provider[Symbol.asyncDispose]();
  });

  async function call(method: string, request: unknown, more: Readonly<Record<string, string>> = {}) {
    const url = `${shop.url}/commerce.user.v1.AuthService/${method}`;
    const answer = await fetch(url, {
      method: "POST",
      headers: { ...headers, ...more },
      body: JSON.stringify(request),
    });
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
  }

  test("opens a session that counts at the gateway, once", async () => {
    const sub = randomUUID();
    provider.people.set(sub, { email: `${sub}@example.com`, email_verified: true, name: "Ada" });
    const { body: begun } = await call("StartOpenIdLogin", { provider: "real", returnTo: "/cart" });
    const back = await provider.visit(String(begun["authorizationUrl"]), sub);
    const request = { ...back, loginToken: begun["loginToken"] };
    const { status, body } = await call("FinishOpenIdLogin", request);
    expect([status, body["returnTo"]]).toEqual([200, "/cart"]);
    const authorization = { authorization: `Bearer ${String(body["accessToken"])}` };
    const { body: listed } = await call("ListSessions", {}, authorization);
    expect(listed["sessions"]).toMatchObject([{ client: "a browser", current: true }]);
    const { body: linked } = await call("ListExternalIdentities", {}, authorization);
    expect(linked["identities"]).toMatchObject([{ provider: "real", issuer: provider.issuer }]);

    const again = await call("FinishOpenIdLogin", request);
    expect([again.status, again.body["code"]]).toEqual([401, "unauthenticated"]);
    const down = await call("StartOpenIdLogin", { provider: "gone" });
    expect([down.status, down.body["code"]]).toEqual([503, "unavailable"]);
  });

  test("the shop's own page is reached through the gateway, whatever the address says", async () => {
    const answer = await fetch(`${shop.url}/-/user/openid/callback?code=a&state=%3Cscript%3E`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("referrer-policy")).toBe("no-referrer");
    const page = await answer.text();
    expect(page).toContain("FinishOpenIdLogin");
    expect(page).not.toContain("state=");
  });

  test("nothing of a login is in the log", async () => {
    const { body: begun } = await call("StartOpenIdLogin", { provider: "real" });
    const token = String(begun["loginToken"]);
    const { searchParams } = new URL(String(begun["authorizationUrl"]));
    const refused = { loginToken: token, code: randomUUID(), state: searchParams.get("state"), iss: provider.issuer };
    expect((await call("FinishOpenIdLogin", refused)).status).toBe(401);
    const log = () => [...new Set(Object.values(shop.processes))].map((process) => process.output()).join("\n");
    await until(() => log().includes("a login was refused") && log().includes("AuthService/FinishOpenIdLogin"));
    for (const secret of [token, refused.code, String(refused.state), CLIENT.client_secret]) {
      expect(log()).not.toContain(secret);
    }
  });
});
