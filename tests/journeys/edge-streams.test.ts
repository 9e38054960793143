import { once } from "node:events";
import type { ClientRequest, IncomingMessage } from "node:http";
import { request } from "node:http";
import { connect } from "node:http2";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CreateOrdersRequestSchema } from "#gen/commerce/order/v1/order_pb.ts";
import { ErrorInfoSchema, QuotaFailureSchema, RetryInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { tokenOf } from "../support/accounts.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import type { Protocol } from "../support/protocols.ts";
import { clientsOf, protocols, refusalOf } from "../support/protocols.ts";
import { enveloped } from "../support/wire.ts";
import type { Buyer } from "./checkout-shop.ts";
import { newBuyer } from "./checkout-shop.ts";

const STREAMS = 3;

describe("the streams of one caller", () => {
  /** What is shown is that of one port: one process is enough. */
  let shop: Installation;
  let buyer: Buyer;
  let orderId = "";
  beforeAll(async () => {
    shop = await startInstallation("one process", { RATE_LIMITS: "all", STREAMS_PER_CALLER: String(STREAMS) });
    buyer = await newBuyer(shop);
    // It waits for its buyer: a watch of it goes on.
    orderId = (await buyer.order({ paymentMethodToken: "tok_requires_action" })).id;
    // More than what buffers on the way hold.
    const products = new Client({ connectionString: shop.databases["product"]?.url ?? "" });
    await products.connect();
    await products.query(
      `insert into products (id, title, description, state, tax_category, attributes, image_urls, currency_code,
         lowest_price_minor, title_key, search, version, created_at, updated_at)
       select uuidv7(), 'P' || n, (select string_agg(md5(random()::text || m), '') from generate_series(1, 320) m where n > 0),
         'active', 'standard', '{}', '{}', 'EUR', 1, 'p', '', 1, now(), now()
       from generate_series(1, 4000) n`,
    );
    await products.end();
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  type Open = (signal: AbortSignal) => AsyncIterable<unknown>;
  const watch: Open = (signal) => buyer.clients.orders.watchOrder({ id: orderId }, { signal });
  const nobody = () => clientsOf(protocols.gRPC(shop.url, "nobody"));
  const list: Open = (signal) => nobody().products.listProducts({}, { signal });

  /** Streams that have ended at the gateway, refused ones too. */
  function ended(): number {
    const lines = shop.processes["gateway"]?.log ?? [];
    const isStream = (method: unknown) => /\/(?:WatchOrder|ListProducts|CreateOrders)$/.test(String(method));
    return lines.filter(({ role, msg, method }) => role === "gateway" && msg === "rpc" && isStream(method)).length;
  }

  /** Opens streams until one is refused, ends them, and answers how many there were, and the refusal. */
  async function fill(open: Open): Promise<{ opened: number; refusal: unknown }> {
    const before = ended();
    const leave = new AbortController();
    let refusal: unknown;
    let opened = 0;
    while (refusal === undefined && opened <= STREAMS) {
      await open(leave.signal)
        [Symbol.asyncIterator]()
        .next()
        .then(
          () => (opened += 1),
          (error: unknown) => (refusal = error),
        );
    }
    leave.abort();
    await until(() => ended() === before + opened + (refusal === undefined ? 0 : 1));
    return { opened, refusal };
  }

  test("are so many, and the next is told what there is too much of, and when to come again", async () => {
    const { opened, refusal } = await fill(watch);
    expect(opened).toBe(STREAMS);
    const error = ConnectError.from(refusal);
    expect(error.code).toBe(Code.ResourceExhausted);
    expect(error.findDetails(ErrorInfoSchema)).toMatchObject([{ reason: "RATE_LIMITED" }]);
    const violations = [{ subject: "streams", description: "At most 3 streams open at once." }];
    expect(error.findDetails(QuotaFailureSchema)).toMatchObject([{ violations }]);
    expect(error.findDetails(RetryInfoSchema)).toMatchObject([{ retryDelay: { seconds: 1n } }]);
    // Not at once: who opens the next as soon as one is refused would keep a core busy.
    const refused = shop.processes["gateway"]?.log.find(
      ({ msg, reason }) => msg === "rpc" && reason === "RATE_LIMITED",
    );
    expect(refused?.["ms"]).toBeGreaterThan(450);
  });

  test("do not count for others; whoever has no account counts by address", async () => {
    const before = ended();
    const leave = new AbortController();
    const open = Array.from({ length: STREAMS }, () => list(leave.signal)[Symbol.asyncIterator]());
    for (const stream of open) await stream.next();
    expect(await refusalOf(list(leave.signal)[Symbol.asyncIterator]().next())).toEqual({
      code: "ResourceExhausted",
      reason: "RATE_LIMITED",
    });
    expect((await fill(watch)).opened).toBe(STREAMS);
    // Calls that are no streams go on.
    expect((await nobody().products.queryProducts({ pageSize: 1 })).products).toHaveLength(1);
    leave.abort();
    await until(() => ended() === before + 2 * STREAMS + 2);
  });

  const clients = (protocol: Protocol) => clientsOf(protocols[protocol](shop.url, buyer.account));

  async function readAll(stream: AsyncIterable<unknown>): Promise<void> {
    for await (const _message of stream);
  }

  /** A stream as nothing but HTTP/1.1, once it has begun to answer. */
  async function openRaw(path: string, body?: object): Promise<[ClientRequest, IncomingMessage]> {
    const authorization = `Bearer ${await tokenOf(shop.url, buyer.account)}`;
    const sent = request(shop.url + path, {
      method: body ? "POST" : "GET",
      headers: { authorization, ...(body && { "content-type": "application/connect+json" }) },
      agent: false,
    });
    sent.on("error", () => undefined).end(body && enveloped(Buffer.from(JSON.stringify(body))));
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    response.on("error", () => undefined);
    return [sent, response];
  }

  /** Reads a little, then nothing, and goes when the server has no more room to write to. */
  async function stopReading([sent, response]: [ClientRequest, IncomingMessage]): Promise<void> {
    await once(response, "data");
    response.pause();
    let read = -1;
    let looks = 0;
    await until(() => {
      looks = read === response.socket.bytesRead ? looks + 1 : 0;
      read = response.socket.bytesRead;
      return looks > 10;
    });
    sent.destroy();
  }

  async function* endless(): AsyncGenerator<MessageInitShape<typeof CreateOrdersRequestSchema>> {
    yield { sequence: 1 };
    await new Promise(() => undefined);
  }

  /** Every way in which a stream ends, for whom its slots are, and what it does. */
  const endings: Record<string, [Open, () => Promise<void>]> = {
    ...Object.fromEntries(
      (["gRPC", "gRPC-Web", "Connect binary", "Connect JSON over HTTP/1.1", "REST"] as const).map((protocol) => [
        `its client leaves, ${protocol}`,
        [
          watch,
          async () => {
            const leave = new AbortController();
            const stream = clients(protocol).orders.watchOrder({ id: orderId }, { signal: leave.signal });
            await stream[Symbol.asyncIterator]().next();
            leave.abort();
          },
        ],
      ]),
    ),
    "its connection breaks, HTTP/1.1": [
      watch,
      async () => {
        const [sent, response] = await openRaw("/commerce.order.v1.OrderService/WatchOrder", { id: orderId });
        await once(response, "data");
        sent.destroy();
      },
    ],
    "its connection breaks, REST": [
      watch,
      async () => {
        const [sent, response] = await openRaw(`/api/v1/orders/${orderId}/events:stream`);
        await once(response, "data");
        sent.destroy();
      },
    ],
    "its connection breaks before its first message, REST": [
      watch,
      async () => {
        const [sent] = await openRaw(`/api/v1/orders/${orderId}/events:stream?after_position=1000`);
        sent.destroy();
      },
    ],
    "its connection breaks, HTTP/2": [
      watch,
      async () => {
        const session = connect(shop.url);
        const stream = session.request({
          ":method": "POST",
          ":path": "/commerce.order.v1.OrderService/WatchOrder",
          "content-type": "application/connect+json",
          authorization: `Bearer ${await tokenOf(shop.url, buyer.account)}`,
        });
        stream.on("error", () => undefined).end(enveloped(Buffer.from(JSON.stringify({ id: orderId }))));
        await once(stream, "data");
        session.destroy();
      },
    ],
    "its reader stops reading and is gone": [
      watch,
      async () => stopReading(await openRaw("/commerce.product.v1.ProductService/ListProducts", {})),
    ],
    "its reader stops reading and is gone, REST": [
      watch,
      async () => stopReading(await openRaw("/api/v1/products:stream")),
    ],
    "all of it is read": [list, () => readAll(nobody().products.listProducts({ limit: 600n }))],
    "its deadline passes": [
      watch,
      async () => {
        const stream = clients("gRPC").orders.watchOrder({ id: orderId }, { timeoutMs: 200 });
        await expect(readAll(stream)).rejects.toMatchObject({ code: Code.DeadlineExceeded });
      },
    ],
    "it is refused": [
      watch,
      async () => {
        const refused = await refusalOf(readAll(clients("gRPC").orders.watchOrder({ id: "no id" })));
        expect(refused.reason).toBe("INVALID_REQUEST");
      },
    ],
    "its caller may not open it": [
      list,
      async () => {
        const refused = await refusalOf(readAll(nobody().orders.watchOrder({ id: orderId })));
        expect(refused.reason).toBe("TOKEN_MISSING");
      },
    ],
    "its requests end": [watch, () => readAll(clients("gRPC").orders.createOrders((async function* () {})()))],
    "its client leaves while it sends": [
      watch,
      async () => {
        const leave = new AbortController();
        const stream = clients("gRPC").orders.createOrders(endless(), { signal: leave.signal });
        await stream[Symbol.asyncIterator]().next();
        leave.abort();
      },
    ],
  };

  test.each(Object.entries(endings))("give their slot back when: %s", async (_way, [open, end]) => {
    for (let times = 0; times < STREAMS; times += 1) {
      const before = ended();
      await end();
      await until(() => ended() === before + 1);
    }
    // No fewer, and no more.
    expect((await fill(open)).opened).toBe(STREAMS);
  });
});
