import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { tokenOf } from "../support/accounts.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import { openRaw } from "../limits/raw.ts";
import { until } from "../support/conditions.ts";

let shop: Installation;
let authorization: string;
beforeAll(async () => {
  shop = await startInstallation("one process");
  authorization = `Bearer ${await tokenOf(shop.url)}`;
});
afterAll(() => shop[Symbol.asyncDispose]());

async function send(path: string, raw?: string, headers: Record<string, string> = {}) {
  const answer = await fetch(shop.url + path, {
    method: raw === undefined ? "GET" : "POST",
    headers: { authorization, ...(raw !== undefined && { "content-type": "application/json" }), ...headers },
    ...(raw !== undefined && { body: raw }),
  });
  return { status: answer.status, body: (await answer.json()) as Readonly<Record<string, unknown>> };
}

/** What would be otherwise if all objects of the process had these properties. */
async function isNormal(): Promise<void> {
  const title = randomUUID();
  const price = { currencyCode: "EUR", amountMinor: "1" };
  const made = await send("/api/v1/products", JSON.stringify({ title, variants: [{ sku: title, price }] }));
  expect(made).toMatchObject({ status: 200, body: { product: { title, state: "PRODUCT_STATE_ACTIVE" } } });
  expect(JSON.stringify(made.body)).not.toMatch(/polluted/);
  expect((await send("/api/v1/orders", undefined, { authorization: "" })).status).toBe(401);
}

/** Each would give every object `polluted`, and a token where a careless merge copies what it finds. */
const bodies = [
  '{"__proto__":{"polluted":"yes","authorization":"x"},"title":"A"}',
  '{"constructor":{"prototype":{"polluted":"yes"}},"title":"A"}',
  '{"title":"A","variants":[{"__proto__":{"polluted":"yes"},"sku":"P"}]}',
  '{"title":"A","variants":[{"sku":"P","price":{"constructor":{"prototype":{"polluted":"yes"}}}}]}',
  '{"\\u005f_proto__":{"polluted":"yes"}}',
  '{"prototype":{"polluted":"yes"}}',
  '{"toString":"polluted","valueOf":"polluted"}',
  '{"hasOwnProperty":1,"title":"A"}',
];

test.each(bodies)("a body that writes to prototypes is refused: %s", async (body) => {
  for (const path of ["/api/v1/products", "/commerce.product.v1.ProductService/AddProduct"]) {
    const { status, body: told } = await send(path, body);
    expect(status, path).toBe(400);
    expect(JSON.stringify(told), path).toContain("MALFORMED_MESSAGE");
  }
  await isNormal();
});

test.each([
  "__proto__[x]=1",
  "__proto__.x=1",
  "constructor[prototype][x]=1",
  "constructor.prototype.x=1",
  "toString=1",
])("a query that writes to prototypes is refused: %s", async (search) => {
  const { status, body } = await send(`/api/v1/products?${search}`);
  expect([status, body["reason"]]).toEqual([400, "MALFORMED_MESSAGE"]);
  await isNormal();
});

test.each(["__proto__", "constructor", "toString", "hasOwnProperty"])(
  "a map has the key %s like any other",
  async (key) => {
    const price = { currencyCode: "EUR", amountMinor: "1" };
    const sku = randomUUID();
    const attributes = `{"${key}":"polluted"}`;
    const raw = `{"title":"A","attributes":${attributes},"variants":[{"sku":"${sku}","options":${attributes},"price":${JSON.stringify(price)}}]}`;
    const made = await send("/api/v1/products", raw);
    expect(made.status).toBe(200);
    const read = await fetch(`${shop.url}/api/v1/products/by-sku/${sku}`);
    // As an attribute, and as an option of the variant.
    expect((await read.text()).split(`"${key}":"polluted"`)).toHaveLength(3);
    await isNormal();
  },
);

test("headers, cookies, methods and paths that are named like prototypes are nothing", async () => {
  const lines = ["__proto__: polluted", "constructor: polluted", "cookie: __proto__=polluted; constructor=1"];
  const raw = openRaw(shop.url);
  await raw.write(
    `GET /api/v1/categories HTTP/1.1\r\nHost: shop\r\n${lines.join("\r\n")}\r\nConnection: close\r\n\r\n`,
  );
  await until(() => raw.closedAfter() !== undefined);
  expect(raw.text()).toMatch(/^HTTP\/1.1 200/);
  expect(raw.text()).not.toContain("polluted");
  for (const path of [
    "/__proto__",
    "/api/v1/__proto__",
    "/api/v1/products/__proto__",
    "/api/v1/dead-letters/constructor",
    "/-/__proto__/x",
    "/-/payment/webhooks/__proto__",
    "/commerce.product.v1.ProductService/__proto__",
    "/commerce.product.v1.ProductService/constructor",
    "/commerce.product.v1.__proto__/GetProduct",
  ]) {
    for (const body of [undefined, "{}"]) {
      const { status } = await fetch(shop.url + path, {
        method: body === undefined ? "GET" : "POST",
        ...(body !== undefined && { body }),
        headers: { "content-type": "application/json" },
      });
      expect([400, 401, 404, 405, 501], path).toContain(status);
    }
  }
  await isNormal();
});
