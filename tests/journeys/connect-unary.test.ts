import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { IncomingHttpHeaders } from "node:http";
import { Agent, request as requestHttp1 } from "node:http";
import type { ClientHttp2Session } from "node:http2";
import { connect } from "node:http2";
import { gunzipSync } from "node:zlib";
import type { DescMethod } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { tokenOf } from "../support/accounts.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import type { LogLine } from "../support/process.ts";
import { clientsOf, protocols } from "../support/protocols.ts";

/**
 * Plain unary calls are served by an adapter of our own, the others by the framework. Nobody may notice which: the same
 * request is sent as it is, in chunks of unknown length, and with an encoding that changes nothing, which the framework
 * serves.
 */

type Way = "with its length" | "in chunks" | "to the framework";

const ORIGIN = "https://shop.example";

interface Sent {
  readonly method: DescMethod;
  readonly body: Uint8Array | string;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Got {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

let shop: Installation;
let session: ClientHttp2Session;
const agent = new Agent({ keepAlive: true });
let token = "";
let productId = "";
let userId = "";

beforeAll(async () => {
  shop = await startInstallation("one process", { CORS_ORIGINS: ORIGIN });
  session = connect(shop.url);
  token = await tokenOf(shop.url);
  const { users, products, inventory } = clientsOf(protocols.gRPC(shop.url));
  userId = (await users.createUser({ email: "ada@example.com" })).user?.id ?? "";
  const { product } = await products.addProduct({
    title: "Mug",
    description: "A mug. ".repeat(200),
    variants: [{ sku: "MUG", price: { currencyCode: "EUR", amountMinor: 1n } }],
  });
  productId = product?.id ?? "";
  await inventory.adjustStock({ sku: "MUG", delta: 1_000n });
});
afterAll(async () => {
  agent.destroy();
  session.destroy();
  await shop[Symbol.asyncDispose]();
});

type Send = (sent: Sent, way: Way) => Promise<Got>;

const overHttp1: Send = async ({ method, body, headers }, way) => {
  const length = { ...(way === "in chunks" ? { "transfer-encoding": "chunked" } : lengthOf(body)), ...encodingOf(way) };
  const request = requestHttp1(`${shop.url}${pathOf(method)}`, {
    agent,
    method: "POST",
    headers: { ...length, ...headers },
  });
  request.end(body);
  const [response] = (await once(request, "response")) as [Parameters<typeof collect>[0] & IncomingResponse];
  return { status: response.statusCode ?? 0, headers: response.headers, body: await collect(response) };
};
interface IncomingResponse {
  readonly statusCode?: number;
  readonly headers: IncomingHttpHeaders;
}

const overHttp2: Send = async ({ method, body, headers }, way) => {
  const length = { ...(way !== "in chunks" && lengthOf(body)), ...encodingOf(way) };
  const stream = session.request({ ":method": "POST", ":path": pathOf(method), ...length, ...headers });
  stream.end(body);
  const [{ ":status": status, ...rest }] = (await once(stream, "response")) as [Record<string, string>];
  return { status: Number(status), headers: rest, body: await collect(stream) };
};

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

function lengthOf(body: Uint8Array | string): Record<string, string> {
  return { "content-length": String(Buffer.byteLength(body)) };
}

function encodingOf(way: Way): Record<string, string> {
  return way === "to the framework" ? { "content-encoding": "identity" } : {};
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/** What differs from one answer to the next, and how a connection goes on, which is nobody's business but HTTP's. */
const OWN = new Set(["date", "x-request-id", "connection", "keep-alive", "transfer-encoding"]);

/** What a client sees of an answer, and an operator of the call. */
async function seenOf({ status, headers, body }: Got): Promise<unknown> {
  const requestId = String(headers["x-request-id"]);
  const own = (line: LogLine) => line["requestId"] === requestId && line["role"] === "gateway";
  const { log } = shop.processes["gateway"] ?? { log: [] };
  await until(() => log.some(own));
  const text = (headers["content-encoding"] === "gzip" ? gunzipSync(body) : body).toString("latin1");
  return {
    status,
    headers: Object.fromEntries(
      Object.entries(headers)
        .filter(([name]) => !OWN.has(name))
        .toSorted(([one], [other]) => one.localeCompare(other)),
    ),
    body: text.replaceAll(requestId, "the request's id"),
    log: log
      .filter(own)
      .map(({ level, msg, method, code, reason, subject }) => [level, msg, method, code, reason, subject]),
  };
}

const json = { "content-type": "application/json" };
const binary = { "content-type": "application/proto" };
const bearer = () => ({ authorization: `Bearer ${token}` });
const { getProduct, queryProducts, addProduct } = ProductService.method;
const { getUser, createUser } = UserService.method;
const { createOrder } = OrderService.method;
const read = (headers: Readonly<Record<string, string>>): Sent => ({
  method: getProduct,
  body: JSON.stringify({ id: productId }),
  headers: { ...json, ...headers },
});
const key = randomUUID();
const nothing = randomUUID();
const order = (idempotencyKey: string): Sent => ({
  method: createOrder,
  body: JSON.stringify({ userId, items: [{ sku: "MUG", quantity: 1 }], idempotencyKey }),
  headers: { ...json, ...bearer() },
});

/** Each a request, and what has to be true of both answers, so that the two are not wrong together. */
const rows: readonly (readonly [name: string, make: () => Sent, status: number, part: string])[] = [
  ["JSON", () => read({}), 200, "Mug"],
  ["JSON that is asked for compressed", () => read({ "accept-encoding": "br, gzip" }), 200, "Mug"],
  ["an encoding with a weight", () => read({ "accept-encoding": "gzip;q=1.0" }), 200, "Mug"],
  [
    "binary",
    () => ({
      method: getProduct,
      body: toBinary(getProduct.input, create(getProduct.input, { id: productId })),
      headers: { ...binary, "accept-encoding": "gzip" },
    }),
    200,
    "Mug",
  ],
  ["a version of the protocol", () => read({ "connect-protocol-version": "1" }), 200, "Mug"],
  ["a deadline", () => read({ "connect-timeout-ms": "5000" }), 200, "Mug"],
  ["a deadline that is over", () => read({ "connect-timeout-ms": "0" }), 504, "DEADLINE"],
  ["a deadline that is no number", () => read({ "connect-timeout-ms": "soon" }), 400, "MALFORMED_MESSAGE"],
  ["a deadline of months", () => read({ "connect-timeout-ms": "9999999999" }), 400, "MALFORMED_MESSAGE"],
  ["a page of an origin that may read", () => read({ origin: ORIGIN }), 200, "Mug"],
  ["a page of another origin", () => read({ origin: "https://other.example" }), 200, "Mug"],
  ["a token", () => read(bearer()), 200, "Mug"],
  ["a token that is none, where none is needed", () => read({ authorization: "Bearer x" }), 200, "Mug"],
  ["nothing, in binary", () => ({ method: getProduct, body: "", headers: binary }), 400, "INVALID_REQUEST"],
  ["nothing, in JSON", () => ({ method: getProduct, body: "", headers: json }), 400, "MALFORMED_MESSAGE"],
  ["half of a JSON", () => ({ method: getProduct, body: '{"id":', headers: json }), 400, "MALFORMED_MESSAGE"],
  [
    "text that is not UTF-8",
    () => ({ method: getProduct, body: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), headers: json }),
    400,
    "MALFORMED_MESSAGE",
  ],
  ["a field that is not known", () => ({ method: getProduct, body: '{"ids":1}', headers: json }), 400, "ids"],
  ["garbage", () => ({ method: getProduct, body: Buffer.of(0xff, 0xff, 0xff), headers: binary }), 400, "MALFORMED"],
  [
    "what is not there",
    () => ({ method: getProduct, body: JSON.stringify({ id: nothing }), headers: json }),
    404,
    "NOT_FOUND",
  ],
  [
    "many violations, asked for compressed",
    () => ({
      method: addProduct,
      body: JSON.stringify({ title: "", variants: Array.from({ length: 30 }, () => ({ sku: "" })) }),
      headers: { ...json, ...bearer(), "accept-encoding": "gzip" },
    }),
    400,
    "INVALID_REQUEST",
  ],
  ["nobody, where somebody is needed", () => ({ method: getUser, body: "{}", headers: json }), 401, "TOKEN_MISSING"],
  [
    "a token that is none, where one is needed",
    () => ({ method: getUser, body: "{}", headers: { ...json, authorization: "Bearer x" } }),
    401,
    "TOKEN_INVALID",
  ],
  [
    "a conflict",
    () => ({ method: createUser, body: '{"email":"ada@example.com"}', headers: { ...json, ...bearer() } }),
    409,
    "EMAIL_TAKEN",
  ],
  [
    "a search",
    () => ({ method: queryProducts, body: '{"pageSize":5}', headers: { ...json, "accept-encoding": "gzip" } }),
    200,
    "MUG",
  ],
];

describe.each([
  ["HTTP/1.1", overHttp1],
  ["HTTP/2", overHttp2],
])("over %s", (version, send) => {
  test.each(rows)("%s", async (_name, make, status, part) => {
    const own = await seenOf(await send(make(), "with its length"));
    expect(await seenOf(await send(make(), "in chunks"))).toEqual(own);
    expect(await seenOf(await send(make(), "to the framework"))).toEqual(own);
    expect(own).toMatchObject({ status });
    expect(JSON.stringify(own)).toContain(part);
  });

  test("an order, replayed by the other one", async () => {
    const sent = order(`${key}-${version.slice(-1)}`);
    const [first, second, third] = [
      await send(sent, "in chunks"),
      await send(sent, "to the framework"),
      await send(sent, "with its length"),
    ];
    expect([first.status, second.status, third.status]).toEqual([200, 200, 200]);
    expect(first.headers["idempotent-replayed"]).toBeUndefined();
    expect(second.headers["idempotent-replayed"]).toBe("true");
    expect(await seenOf(third)).toEqual(await seenOf(second));
  });
});

test("which of them served is seen of a request that cannot be read: only the framework hangs up", async () => {
  const broken = { method: getProduct, body: "{", headers: json };
  expect((await overHttp1(broken, "in chunks")).headers.connection).toBe("keep-alive");
  expect((await overHttp1(broken, "to the framework")).headers.connection).toBe("close");
});
