import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { get } from "node:http";
import { connect, constants } from "node:http2";
import type { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MovementKind } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { createAccount, tokenOf } from "../support/accounts.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { present } from "../support/role.ts";

/** What the requests are about. */
interface World {
  readonly buyerId: string;
  readonly productId: string;
  readonly sku: string;
  readonly orderId: string;
  readonly addressId: string;
}

interface Sent {
  readonly as?: "buyer" | "admin" | "nobody";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Instead of a body that is JSON. */
  readonly raw?: string | Uint8Array<ArrayBuffer>;
}

interface Expected {
  readonly status: number;
  /** What the JSON of the answer contains. */
  readonly json?: object;
  readonly reason?: string;
  /** Of the BadRequest. */
  readonly fields?: readonly string[];
  readonly headers?: Readonly<Record<string, string | null>>;
}

type Row = readonly [name: string, line: string | ((world: World) => string), sent: Sent, expected: Expected];

const ok = (json: object = {}): Expected => ({ status: 200, json });
const refused = (status: number, reason: string, fields?: readonly string[]): Expected => ({
  status,
  reason,
  ...(fields && { fields }),
});
const malformed = (...fields: string[]) => refused(400, "MALFORMED_MESSAGE", fields);
const buyer: Sent = { as: "buyer" };
const address = { name: "Ada", lines: ["1 Way"], city: "Oslo", countryCode: "NO", postalCode: "0150" };
const bomb = gzipSync(Buffer.alloc(8 * 1024 * 1024, 32));

/** Every feature of the bindings, and every way to miss it. */
const rows: readonly Row[] = [
  // Paths
  ["a literal beats a variable", "GET /api/v1/users/profile", buyer, ok({ user: {} })],
  ["a variable", ({ productId }) => `GET /api/v1/products/${productId}`, {}, ok({ product: { version: 1 } })],
  ["a variable that is no id", "GET /api/v1/products/nonsense", {}, refused(400, "INVALID_REQUEST", ["id"])],
  [
    "an additional binding, with an escaped variable",
    ({ sku }) => `GET /api/v1/products/by-sku/${sku.replace("MUG", "%4DU%47")}`,
    {},
    ok({ product: { title: "A mug" } }),
  ],
  ["a verb beats a variable", "GET /api/v1/products:batchGet?skus=NO-SUCH", {}, ok({ absentSkus: ["NO-SUCH"] })],
  [
    "a verb that there is not",
    ({ productId }) => `GET /api/v1/products/${productId}:nix`,
    {},
    refused(400, "INVALID_REQUEST", ["id"]),
  ],
  [
    "a field of the path that the body has, too",
    ({ orderId }) => `POST /api/v1/orders/${orderId}:cancel`,
    { ...buyer, body: { id: randomUUID() } },
    malformed("id"),
  ],
  ["a path that there is not", "GET /api/v1/nix", {}, refused(404, "NOT_FOUND")],
  ["a slash at the end", "GET /api/v1/products/", {}, refused(404, "NOT_FOUND")],
  ["escapes that cannot be read", "GET /api/v1/products/%ff", {}, malformed()],
  [
    "another verb",
    "DELETE /api/v1/products",
    {},
    { ...refused(405, "UNSUPPORTED_METHOD"), headers: { allow: "POST, GET, HEAD, OPTIONS" } },
  ],
  [
    "what is served",
    "OPTIONS /api/v1/products",
    {},
    { status: 204, headers: { allow: "POST, GET, HEAD, OPTIONS", "content-length": null } },
  ],
  ["a method of roles only", "POST /api/v1/users:batchGet", { as: "admin", body: {} }, refused(404, "NOT_FOUND")],
  // Queries
  [
    "parameters in JSON's names and in the proto's, of messages, too",
    "GET /api/v1/products?pageSize=1&min_price.currency_code=EUR&minPrice.amountMinor=1&order=PRODUCT_ORDER_TITLE",
    {},
    ok({ products: [{ title: "A mug" }] }),
  ],
  ["an enum by its number", "GET /api/v1/products?order=1", {}, ok()],
  [
    "a parameter that is repeated",
    ({ sku }) => `GET /api/v1/products:batchGet?skus=${sku}&skus=NO-SUCH`,
    {},
    ok({ products: [{ title: "A mug" }], absentSkus: ["NO-SUCH"] }),
  ],
  ["a time", "GET /api/v1/orders?createdSince=2026-01-01T00:00:00Z", buyer, ok({ orders: [{}] })],
  ["a flag", "GET /api/v1/inventory/stock?onlyLow=true", { as: "admin" }, ok({ stock: [] })],
  ["a flag that is none", "GET /api/v1/inventory/stock?onlyLow=yes", { as: "admin" }, malformed("onlyLow")],
  ["a number that is none", "GET /api/v1/products?pageSize=many", {}, refused(400, "MALFORMED_MESSAGE")],
  ["an empty number", "GET /api/v1/products?pageSize=", {}, refused(400, "MALFORMED_MESSAGE")],
  ["an enum that is none", "GET /api/v1/products?order=CHEAPEST", {}, refused(400, "MALFORMED_MESSAGE")],
  ["a time that is none", "GET /api/v1/orders?createdSince=yesterday", buyer, refused(400, "MALFORMED_MESSAGE")],
  ["a number out of bounds", "GET /api/v1/products?pageSize=-1", {}, refused(400, "INVALID_REQUEST", ["page_size"])],
  [
    "all faulty parameters at once",
    "GET /api/v1/products?nix=1&text=a&text=b&pageToken.x=1",
    {},
    malformed("nix", "text", "pageToken.x"),
  ],
  ["a message as a parameter", "GET /api/v1/products?minPrice=5", {}, malformed("minPrice")],
  [
    "a field of the path as a parameter",
    ({ productId }) => `GET /api/v1/products/${productId}?id=${randomUUID()}`,
    {},
    malformed("id"),
  ],
  ["prototypes", "GET /api/v1/products?__proto__.x=1&constructor=2", {}, malformed("__proto__.x", "constructor")],
  ["a parameter's broken escapes", "GET /api/v1/products?text=%ff", {}, malformed()],
  ["a token in the address", "GET /api/v1/orders?access_token=x", {}, malformed("access_token")],
  ["parameters beside a body", "POST /api/v1/auth/login?email=a", { body: {} }, malformed("email")],
  // Bodies
  [
    "a body that is the whole request",
    "POST /api/v1/products",
    {
      as: "admin",
      body: { title: "T", variants: [{ sku: randomUUID(), price: { currency_code: "EUR", amountMinor: 1 } }] },
    },
    ok({ product: { title: "T" } }),
  ],
  [
    "a body that is one field",
    "POST /api/v1/users/profile/addresses",
    { ...buyer, body: address },
    ok({ entry: { address: { city: "Oslo" } } }),
  ],
  [
    "one field, with the path",
    ({ addressId }) => `PUT /api/v1/users/profile/addresses/${addressId}`,
    { ...buyer, body: { ...address, city: "Bergen" } },
    ok({ entry: { address: { city: "Bergen" } } }),
  ],
  [
    "one field, given in the address, too",
    ({ addressId }) => `PUT /api/v1/users/profile/addresses/${addressId}?address.city=Rome`,
    { ...buyer, body: address },
    malformed("address.city"),
  ],
  [
    "PUT, and PATCH as an additional binding",
    "PATCH /api/v1/users/profile",
    { ...buyer, body: { displayName: "Ada" } },
    ok({ user: { displayName: "Ada" } }),
  ],
  ["no body", "POST /api/v1/auth/login", {}, refused(400, "INVALID_REQUEST", ["email", "password"])],
  ["a body where there is none to be", "DELETE /api/v1/payment-methods/x", { ...buyer, body: {} }, malformed()],
  ["a list", "POST /api/v1/auth/login", { body: [] }, malformed()],
  ["no JSON", "POST /api/v1/auth/login", { raw: '{"email":' }, malformed()],
  ["no UTF-8", "POST /api/v1/auth/login", { raw: new Uint8Array([0x22, 0xff, 0x22]) }, malformed()],
  ["an unknown field", "POST /api/v1/orders", { ...buyer, body: { items: [], total: 1 } }, malformed()],
  [
    "prototypes in a body",
    "POST /api/v1/orders",
    { ...buyer, raw: '{"__proto__":{"userId":"x"},"items":[]}' },
    malformed(),
  ],
  ["a body too deep", "POST /api/v1/auth/login", { raw: "[".repeat(100_000) }, malformed()],
  [
    "another content type",
    "POST /api/v1/auth/login",
    { raw: "email=a", headers: { "content-type": "application/x-www-form-urlencoded" } },
    { ...refused(415, "UNSUPPORTED_METHOD"), headers: { "accept-post": "application/json" } },
  ],
  [
    "another letter code",
    "POST /api/v1/auth/login",
    { raw: "{}", headers: { "content-type": "application/json; charset=latin1" } },
    refused(415, "UNSUPPORTED_METHOD"),
  ],
  [
    "UTF-8, said so",
    "POST /api/v1/auth/login",
    { raw: "{}", headers: { "content-type": "application/json; charset=UTF-8" } },
    refused(400, "INVALID_REQUEST", ["email", "password"]),
  ],
  [
    "gzip",
    "POST /api/v1/auth/login",
    { raw: new Uint8Array(gzipSync("{}")), headers: { "content-encoding": "gzip" } },
    refused(400, "INVALID_REQUEST", ["email", "password"]),
  ],
  ["what is not gzip", "POST /api/v1/auth/login", { raw: "{}", headers: { "content-encoding": "gzip" } }, malformed()],
  [
    "another encoding",
    "POST /api/v1/auth/login",
    { raw: "{}", headers: { "content-encoding": "br" } },
    refused(415, "UNSUPPORTED_METHOD"),
  ],
  [
    "a gzip bomb",
    "POST /api/v1/auth/login",
    { raw: new Uint8Array(bomb), headers: { "content-encoding": "gzip" } },
    refused(413, "MESSAGE_TOO_LARGE"),
  ],
  [
    "a body over its limit",
    "POST /api/v1/auth/login",
    { raw: " ".repeat(1_048_577) },
    refused(413, "MESSAGE_TOO_LARGE"),
  ],
  [
    "DELETE with a parameter",
    `DELETE /api/v1/categories/${randomUUID()}?expectedVersion=1`,
    { as: "admin" },
    refused(404, "NOT_FOUND"),
  ],
  // Problems
  [
    "nobody",
    "GET /api/v1/orders",
    {},
    { ...refused(401, "TOKEN_MISSING"), headers: { "www-authenticate": "Bearer", "cache-control": "no-store" } },
  ],
  [
    "a token that is none",
    "GET /api/v1/orders",
    { headers: { authorization: "Bearer x.y.z" } },
    { ...refused(401, "TOKEN_INVALID"), headers: { "www-authenticate": "Bearer" } },
  ],
  ["who may not", "GET /api/v1/users", buyer, refused(403, "ACCESS_DENIED")],
  ["what is not there", `GET /api/v1/products/${randomUUID()}`, {}, refused(404, "NOT_FOUND")],
  [
    "a stale version",
    ({ productId }) => `PATCH /api/v1/products/${productId}`,
    { as: "admin", body: { expectedVersion: 9, title: "B" } },
    { ...refused(409, "VERSION_MISMATCH"), json: { metadata: { current_version: "1" } } },
  ],
  [
    "a precondition",
    "POST /api/v1/orders",
    { ...buyer, body: { items: [{ sku: "NO-SUCH", quantity: 1 }] } },
    { ...refused(400, "SKU_UNAVAILABLE"), json: { preconditions: [{ type: "SKU_UNAVAILABLE", subject: "NO-SUCH" }] } },
  ],
  // Idempotency
  [
    "a key of the header and another in the body",
    "POST /api/v1/orders",
    { ...buyer, headers: { "idempotency-key": "a" }, body: { items: [], idempotencyKey: "b" } },
    malformed("idempotency_key"),
  ],
  [
    "a key for all of a batch",
    "POST /api/v1/orders:batchCreate",
    { ...buyer, headers: { "idempotency-key": "a" }, body: { orders: [] } },
    malformed(),
  ],
  [
    "a key that is too long",
    "POST /api/v1/orders",
    { ...buyer, headers: { "idempotency-key": "x".repeat(256) }, body: { items: [{ sku: "A", quantity: 1 }] } },
    refused(400, "INVALID_REQUEST", ["idempotency_key"]),
  ],
  [
    "a key of the header where the body has an empty one",
    "POST /api/v1/orders",
    { ...buyer, headers: { "idempotency-key": "a" }, body: { items: [], idempotencyKey: "", userId: null } },
    refused(400, "INVALID_REQUEST", ["items"]),
  ],
  [
    "a field of the path that the body has at any depth",
    ({ orderId }) => `POST /api/v1/orders/${orderId}:cancel`,
    { ...buyer, raw: `{"id":${"[".repeat(200_000)}${"]".repeat(200_000)}}` },
    malformed("id"),
  ],
  [
    "a condition that is not looked at",
    ({ productId }) => `PATCH /api/v1/products/${productId}`,
    { as: "admin", headers: { "if-match": '"x"' }, body: { title: "B" } },
    malformed(),
  ],
  // Caches
  [
    "what anybody may read may be kept",
    ({ productId }) => `GET /api/v1/products/${productId}`,
    {},
    { status: 200, headers: { "cache-control": "public, max-age=5", vary: "authorization, accept, accept-encoding" } },
  ],
  [
    "what somebody read is theirs",
    ({ productId }) => `GET /api/v1/products/${productId}`,
    buyer,
    { status: 200, headers: { "cache-control": "private, no-cache" } },
  ],
  [
    "tokens are kept nowhere",
    "POST /api/v1/auth/logout-everywhere",
    {},
    { status: 401, headers: { "cache-control": "no-store" } },
  ],
  [
    "HEAD",
    ({ productId }) => `HEAD /api/v1/products/${productId}`,
    {},
    { status: 200, headers: { "content-type": "application/json" } },
  ],
  ["HEAD of a stream", "HEAD /api/v1/products:stream", {}, { status: 405, headers: { allow: "GET, OPTIONS" } }],
  // Deadlines
  ["a deadline that is none", "GET /api/v1/products", { headers: { "connect-timeout-ms": "soon" } }, malformed()],
  [
    "a deadline that has passed",
    "GET /api/v1/products",
    { headers: { "connect-timeout-ms": "0" } },
    refused(504, "DEADLINE"),
  ],
  // Streams
  [
    "a stream that is refused has its status",
    `GET /api/v1/orders/${randomUUID()}/events:stream`,
    buyer,
    refused(403, "ACCESS_DENIED"),
  ],
  [
    "a stream whose token is forged",
    "GET /api/v1/products:stream?resumeToken=x",
    {},
    refused(400, "INVALID_REQUEST", ["resume_token"]),
  ],
];

describe.each(topologies)("REST in %s", (topology) => {
  let shop: Installation;
  let world: World;
  const account = { email: `${randomUUID()}@tests.example`, password: "a password of theirs" };

  beforeAll(async () => {
    shop = await startInstallation(topology);
    const admins = clientsOf(protocols.gRPC(shop.url));
    const buyerId = await createAccount(shop.url, account, shop.databases["user"]?.url ?? "");
    const buyers = clientsOf(protocols.gRPC(shop.url, account));
    const sku = `MUG-${randomUUID()}`;
    const price = { currencyCode: "EUR", amountMinor: 500n };
    const { product } = await admins.products.addProduct({
      title: "A mug",
      description: "x".repeat(2_000),
      variants: [{ sku, price }],
    });
    await admins.inventory.adjustStock({ sku, delta: 10n, kind: MovementKind.RECEIPT });
    const { order } = await buyers.orders.createOrder({ items: [{ sku, quantity: 1 }] });
    const { entry } = await buyers.users.addAddress({ address });
    const ids = { productId: present(product).id, orderId: present(order).id, addressId: present(entry).id };
    world = { buyerId, sku, ...ids };
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  async function send(line: string, { as = "nobody", headers, body, raw }: Sent): Promise<Response> {
    const [method = "", path = ""] = line.split(" ");
    const token = as === "nobody" ? undefined : await tokenOf(shop.url, as === "buyer" ? account : undefined);
    const sent = raw ?? (body === undefined ? undefined : JSON.stringify(body));
    return fetch(shop.url + path, {
      method,
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(sent !== undefined && { "content-type": "application/json" }),
        ...headers,
      },
      ...(sent !== undefined && { body: sent }),
    });
  }

  test.each(rows)("%s", async (_name, line, sent, expected) => {
    const response = await send(typeof line === "string" ? line : line(world), sent);
    const text = await response.text();
    expect(response.status, text).toBe(expected.status);
    expect(response.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    for (const [name, value] of Object.entries(expected.headers ?? {})) {
      expect(response.headers.get(name), name).toBe(value);
    }
    const told = text === "" ? {} : (JSON.parse(text) as object);
    expect(told).toMatchObject({ ...expected.json });
    expect({ contentType: response.headers.get("content-type"), ...told }).toMatchObject(problemOf(expected));
    const { errors = [] } = told as { readonly errors?: readonly { readonly field: string }[] };
    const fields = errors.map(({ field }) => field);
    expect(fields).toEqual(expected.fields ?? fields);
  });

  test("what has not changed is not sent again", async () => {
    const line = `GET /api/v1/products/${world.productId}`;
    const first = await send(line, {});
    const etag = first.headers.get("etag") ?? "";
    expect(etag).toMatch(/^W\/"[\w-]{20,}"$/);
    for (const known of [etag, etag.slice(2), `"other", ${etag}`, "*"]) {
      const again = await send(line, { headers: { "if-none-match": known } });
      expect([again.status, await again.text(), again.headers.get("etag")]).toEqual([304, "", etag]);
    }
    expect((await send(line, { headers: { "if-none-match": '"other"' } })).status).toBe(200);
    // Compressed it is the same.
    const plain = await send(line, { headers: { "accept-encoding": "identity" } });
    expect(plain.headers.get("etag")).toBe(etag);
    expect(await plain.json()).toEqual(await first.json());
  });

  test("what is long is compressed for those who can read it", async () => {
    const line = `GET /api/v1/products/${world.productId}`;
    const long = await send(line, { headers: { "accept-encoding": "br, gzip;q=0.5" } });
    expect(long.headers.get("content-encoding")).toBe("gzip");
    expect(long.headers.get("vary")).toContain("accept-encoding");
    for (const coding of ["identity", "br", "gzip;q=0"]) {
      const plain = await send(line, { headers: { "accept-encoding": coding } });
      expect(plain.headers.get("content-encoding"), coding).toBeNull();
    }
    expect(await long.json()).toHaveProperty("product");
  });

  test("Idempotency-Key makes an order once, quoted or not", async () => {
    const key = randomUUID();
    const order = { items: [{ sku: world.sku, quantity: 1 }] };
    const place = async (written: string, body: unknown = order) => {
      const response = await send("POST /api/v1/orders", { ...buyer, headers: { "idempotency-key": written }, body });
      const json = (await response.json()) as { readonly order?: { readonly id: string }; readonly reason?: string };
      return [response.status, response.headers.get("idempotent-replayed"), json.order?.id ?? json.reason];
    };
    const [status, replayed, id] = await place(key);
    expect([status, replayed]).toEqual([200, null]);
    expect(await place(key)).toEqual([200, "true", id]);
    expect(await place(`"${key}"`)).toEqual([200, "true", id]);
    expect(await place(key, { ...order, idempotencyKey: key })).toEqual([200, "true", id]);
    const other = { items: [{ sku: world.sku, quantity: 2 }] };
    expect(await place(key, other)).toEqual([422, null, "IDEMPOTENCY_KEY_REUSED"]);
  });

  test("a stream is a line a message, or an event a message that resumes by its id", async () => {
    const body = { items: [{ sku: world.sku, quantity: 1 }], waitFor: "WAIT_FOR_SETTLED" };
    const made = await send("POST /api/v1/orders", { ...buyer, body });
    const { order } = (await made.json()) as { readonly order: { readonly id: string; readonly state: string } };
    expect(order.state).toBe("ORDER_STATE_CONFIRMED");
    const line = `GET /api/v1/orders/${order.id}/events:stream`;

    const lines = await firstLines(await send(line, buyer), "application/x-ndjson", "\n", 5);
    const states = lines.map(
      (each) => (JSON.parse(each) as { result: { event: { state: string } } }).result.event.state,
    );
    expect(states).toEqual([...Array.from({ length: 4 }, () => "ORDER_STATE_PENDING"), "ORDER_STATE_CONFIRMED"]);

    const sse = { accept: "text/event-stream" };
    const events = await firstLines(await send(line, { ...buyer, headers: sse }), "text/event-stream", "\n\n", 5);
    expect(events.map((each) => /^id: (\d+)\ndata: \{/.exec(each)?.[1])).toEqual(["1", "2", "3", "4", "5"]);
    const resumed = await send(line, { ...buyer, headers: { ...sse, "last-event-id": "3" } });
    const rest = await firstLines(resumed, "text/event-stream", "\n\n", 2);
    expect(rest.map((each) => each.split("\n")[0])).toEqual(["id: 4", "id: 5"]);
    // As a browser does, which comes back to the address that it was given.
    const back = await send(`${line}?afterPosition=1`, { ...buyer, headers: { ...sse, "last-event-id": "4" } });
    expect((await firstLines(back, "text/event-stream", "\n\n", 1))[0]).toMatch(/^id: 5\n/);
  });

  test.each(["HTTP/1.1", "HTTP/2"])("a stream whose client leaves is over, over %s", async (version) => {
    const body = { items: [{ sku: world.sku, quantity: 1 }], paymentMethodToken: "tok_requires_action" };
    const made = await send("POST /api/v1/orders", { ...buyer, body });
    const { order } = (await made.json()) as { readonly order: { readonly id: string } };
    const path = `/api/v1/orders/${order.id}/events:stream`;
    const leave = version === "HTTP/2" ? leaveHttp2 : leaveHttp1;
    const [requestId, end] = await leave(shop.url, path, `Bearer ${await tokenOf(shop.url, account)}`);
    const lines = () =>
      present(shop.processes["gateway"]).log.filter((line) => {
        return line.requestId === requestId && line.role === "gateway" && line.msg === "rpc";
      });
    await until(() => lines().length > 0);
    end();
    expect(lines()).toMatchObject([{ code: "canceled", sent: WAITING }]);
  });

  test("a stream that is through says so as an event, and one that fails says why last", async () => {
    const sse = { accept: "text/event-stream" };
    const events = await (await send("GET /api/v1/products:stream?limit=1", { headers: sse })).text();
    expect(events.split("\n\n").map((each) => each.split("\n").at(-1)?.slice(0, 12))).toEqual([
      'data: {"prod',
      "data: {}",
      "",
    ]);
    expect(events).toContain("\n\nevent: end\n");

    const late = { "connect-timeout-ms": "700" };
    const line = `GET /api/v1/inventory/stock:stream?skus=${world.sku}`;
    const lines = await (await send(line, { as: "admin", headers: late })).text();
    const last = lines.trimEnd().split("\n").at(-1) ?? "";
    expect(JSON.parse(last)).toMatchObject({ error: { status: 504, reason: "DEADLINE" } });
    const told = await (await send(line, { as: "admin", headers: { ...late, ...sse } })).text();
    expect(told).toMatch(/event: error\ndata: \{"type":"urn:connect-commerce:problem:DEADLINE"[^\n]*\}\n\n$/);
  });
});

type Left = readonly [requestId: string, endConnection: () => void];

/** What the history of an order that waits for its payment has: after that the stream has nothing to say. */
const WAITING = 3;

/** Opens a stream, reads all that there is and goes away. Over HTTP/2 the connection goes on: it is the stream that is left. */
async function leaveHttp1(url: string, path: string, authorization: string): Promise<Left> {
  const request = get(url + path, { headers: { authorization } });
  const [response] = (await once(request, "response")) as [IncomingMessage];
  await linesOf(response, WAITING);
  request.destroy();
  return [String(response.headers["x-request-id"]), () => undefined];
}

async function leaveHttp2(url: string, path: string, authorization: string): Promise<Left> {
  const session = connect(url);
  const stream = session.request({ [constants.HTTP2_HEADER_PATH]: path, authorization });
  const [headers] = (await once(stream, "response")) as [Readonly<Record<string, string>>];
  await linesOf(stream, WAITING);
  stream.close(constants.NGHTTP2_CANCEL);
  return [headers["x-request-id"] ?? "", () => session.close()];
}

/** Resolves once so many lines have come. */
async function linesOf(body: Readable, count: number): Promise<void> {
  let text = "";
  await new Promise<void>((resolve) => {
    body.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (text.split("\n").length > count) resolve();
    });
    // Breaking it off is an error to the one who does.
    body.on("error", () => undefined);
  });
}

function problemOf({ status, reason }: Expected): object {
  return reason === undefined
    ? {}
    : { contentType: "application/problem+json", type: `urn:connect-commerce:problem:${reason}`, status, reason };
}

/** The first of what a stream sends, after which it is left. */
async function firstLines(
  response: Response,
  type: string,
  between: string,
  count: number,
): Promise<readonly string[]> {
  expect([response.status, response.headers.get("content-type")]).toEqual([200, type]);
  let text = "";
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    if (text.split(between).length > count) break;
  }
  return text.split(between).slice(0, count);
}
