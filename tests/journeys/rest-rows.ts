import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";

/** What the requests are about. */
export interface World {
  readonly buyerId: string;
  readonly productId: string;
  readonly sku: string;
  readonly orderId: string;
  readonly addressId: string;
}

export interface Sent {
  readonly as?: "buyer" | "admin" | "nobody";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Instead of a body that is JSON. */
  readonly raw?: string | Uint8Array<ArrayBuffer>;
}

export interface Expected {
  readonly status: number;
  /** What the JSON of the answer contains. */
  readonly json?: object;
  readonly reason?: string;
  /** Of the BadRequest. */
  readonly fields?: readonly string[];
  readonly headers?: Readonly<Record<string, string | null>>;
}

export type Row = readonly [name: string, line: string | ((world: World) => string), sent: Sent, expected: Expected];

const ok = (json: object = {}): Expected => ({ status: 200, json });
const refused = (status: number, reason: string, fields?: readonly string[]): Expected => ({
  status,
  reason,
  ...(fields && { fields }),
});
const malformed = (...fields: string[]) => refused(400, "MALFORMED_MESSAGE", fields);
export const buyer: Sent = { as: "buyer" };
export const address = { name: "Ada", lines: ["1 Way"], city: "Oslo", countryCode: "NO", postalCode: "0150" };
const bomb = gzipSync(Buffer.alloc(8 * 1024 * 1024, 32));

/** Every feature of the bindings, and every way to miss it. */
export const rows: readonly Row[] = [
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
