import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GatewayService } from "#gen/commerce/gateway/v1/gateway_pb.ts";
import { admin, tokenOf } from "../support/accounts.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import type { SmtpSink } from "../support/smtp-sink.ts";
import { startSmtpSink } from "../support/smtp-sink.ts";

/** What a client may say of where it comes from, and of where the shop is. */
const spoofed = (address: string): Record<string, string> => ({
  "x-forwarded-for": address,
  "x-real-ip": address,
  "x-client-ip": address,
  "x-forwarded-host": "evil.example",
  "x-forwarded-proto": "https",
  "x-forwarded-port": "443",
  "x-original-host": "evil.example",
  forwarded: `for=${address};host=evil.example;proto=https`,
  "true-client-ip": address,
  "cf-connecting-ip": address,
});

const password = "correct horse";
const rest = { "content-type": "application/json" };

async function signUp(url: string, address: string): Promise<{ readonly id: string; readonly status: number }> {
  const answer = await fetch(`${url}/api/v1/users`, {
    method: "POST",
    headers: { ...rest, ...spoofed(address) },
    body: JSON.stringify({ email: `${randomUUID()}@example.com`, password }),
  });
  return { id: answer.headers.get("x-request-id") ?? "", status: answer.status };
}

interface Told {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Asks as a client that says the shop is at evil.example; fetch lets nobody write the Host. */
async function askElsewhere(
  url: string,
  init: { readonly method?: string; readonly body?: string } = {},
): Promise<Told> {
  const { origin, port } = new URL(url);
  const request = httpRequest({
    host: "127.0.0.1",
    port,
    path: url.slice(origin.length),
    method: init.method ?? "GET",
    headers: { ...rest, ...spoofed("203.0.113.7"), host: "evil.example" },
  });
  request.end(init.body);
  const [answer] = (await once(request, "response")) as [IncomingMessage];
  return { status: answer.statusCode ?? 0, headers: answer.headers, body: await text(answer) };
}

/** The address that the audit log has of a request. */
async function auditedAddress(url: string, requestId: string): Promise<string> {
  const gateway = createClient(GatewayService, protocols.gRPC(url));
  let address = "";
  await until(async () => {
    const { entries } = await gateway.listAuditEntries({ pageSize: 100 });
    const entry = entries.find((each) => each.requestId === requestId);
    address = entry?.clientAddress ?? "";
    return entry !== undefined;
  });
  return address;
}

/** How many wrong logins, each from another address if one believes them, are let through before one is refused. */
async function loginsUntilLimited(url: string): Promise<number> {
  for (let n = 0; n < 34; n += 1) {
    const answer = await fetch(`${url}/api/v1/auth/login`, {
      method: "POST",
      headers: { ...rest, ...spoofed(`203.0.113.${String(n)}`) },
      body: JSON.stringify({ email: `${randomUUID()}@example.com`, password }),
    });
    if (answer.status === 429) return n;
  }
  return Infinity;
}

describe("a shop without a proxy", () => {
  let shop: Installation;
  let sink: SmtpSink;
  beforeAll(async () => {
    const server = { user: "shop", pass: "a password" };
    sink = await startSmtpSink(server);
    shop = await startInstallation("one process", {
      RATE_LIMITS: "all",
      MAIL_URL: `smtp://shop:a%20password@${sink.host}:${String(sink.port)}`,
      MAIL_FROM: "shop@shop.example",
      PUBLIC_URL: "https://shop.example/store",
    });
    await tokenOf(shop.url);
  });
  afterAll(async () => {
    await shop[Symbol.asyncDispose]();
    await sink[Symbol.asyncDispose]();
  });

  test("writes down the address of the connection, whatever headers say", async () => {
    const { id, status } = await signUp(shop.url, "203.0.113.7");
    expect(status).toBe(200);
    expect(await auditedAddress(shop.url, id)).toBe("127.0.0.1");
  });

  test("leads nobody elsewhere by the links of its mails, whatever Host and proxies' headers say", async () => {
    const body = JSON.stringify({ email: admin.email });
    const answer = await askElsewhere(`${shop.url}/api/v1/auth/request-password-reset`, { method: "POST", body });
    expect(answer.status, answer.body).toBe(200);
    const isReset = (mail: string) => mail.includes("reset-password");
    await until(() => sink.mails.some((mail) => isReset(JSON.stringify(mail))), 20_000);
    const mails = sink.mails.map((mail) => JSON.stringify(mail));
    for (const mail of mails) expect(mail).not.toContain("evil.example");
    for (const mail of mails.filter(isReset))
      expect(mail).toContain("https://shop.example/store/-/user/reset-password");
  });

  test("limits logins by the address of the connection, whatever headers say", async () => {
    // One was the admin's own.
    expect(await loginsUntilLimited(shop.url)).toBeLessThanOrEqual(30);
  });

  test("does not take a client's word that it came by HTTPS", async () => {
    const { headers } = await fetch(`${shop.url}/livez`, { headers: spoofed("203.0.113.7") });
    expect(headers.get("strict-transport-security")).toBeNull();
  });

  test.each([
    "/docs",
    "/docs//evil.example",
    "//evil.example/docs",
    "/-/payment/returned?return_url=https://evil.example&url=//evil.example&next=https://evil.example",
    "/-/user/openid/callback?redirect_uri=https://evil.example&return_to=//evil.example&state=https://evil.example",
    "/-/user/reset-password?next=https://evil.example",
    "/-/user/confirm-email?redirect=//evil.example",
    "/-/sandbox/pay/pay_00000000-0000-0000-0000-000000000000?return_url=https://evil.example",
    "/-/notification/unsubscribe?token=x&next=https://evil.example",
    "/%5cevil.example",
    "/%09//evil.example",
  ])("redirects nobody elsewhere: %s", async (path) => {
    const { headers, body } = await askElsewhere(shop.url + path);
    expect(headers.location ?? "/docs/").toBe("/docs/");
    expect(headers["refresh"]).toBeUndefined();
    expect(body).not.toContain("evil.example");
  });
});

describe("a shop behind a proxy that it trusts", () => {
  let shop: Installation;
  beforeAll(async () => {
    shop = await startInstallation("one process", { RATE_LIMITS: "all", TRUSTED_PROXIES: "127.0.0.1" });
    await tokenOf(shop.url);
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  test("believes the proxy's word of the client, and none that the client put before it", async () => {
    const last = await signUp(shop.url, "203.0.113.7");
    expect(await auditedAddress(shop.url, last.id)).toBe("203.0.113.7");
    const chained = await signUp(shop.url, "198.51.100.1, 203.0.113.8");
    expect(await auditedAddress(shop.url, chained.id)).toBe("203.0.113.8");
    expect(await loginsUntilLimited(shop.url)).toBe(Infinity);
  });

  test.each(["'; drop table audit_entries; --", "<script>", "999.1.1.1", "a, b, c", "127.0.0.1"])(
    "takes %j for no client's address",
    async (address) => {
      const { id, status } = await signUp(shop.url, address);
      expect(status).toBe(200);
      expect(await auditedAddress(shop.url, id)).toMatch(/^(?:127\.0\.0\.1)?$/);
    },
  );

  test("does not name itself as X-Forwarded-Host says", async () => {
    const { orders, products, inventory } = clientsOf(protocols.gRPC(shop.url));
    const sku = `MUG-${randomUUID()}`;
    await products.addProduct({ title: "A mug", variants: [{ sku, price: { currencyCode: "EUR", amountMinor: 1n } }] });
    await inventory.adjustStock({ sku, delta: 1n });
    const { order } = await orders.createOrder(
      { items: [{ sku, quantity: 1 }], paymentMethodToken: "tok_requires_action", waitFor: 2 },
      { headers: spoofed("203.0.113.7") },
    );
    expect(order?.nextAction?.redirectUrl).toMatch(/^http/);
    expect(order?.nextAction?.redirectUrl).not.toContain("evil.example");
  });
});
