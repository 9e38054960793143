import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { get } from "node:http";
import { connect, constants } from "node:http2";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MovementKind } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { createAccount, tokenOf } from "../support/accounts.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { present } from "../support/role.ts";
import type { Expected, Sent, World } from "./rest-rows.ts";
import { address, buyer, rows } from "./rest-rows.ts";

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
