import { once } from "node:events";
import { createServer } from "node:http";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { Client } from "pg";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { ErrorInfoSchema, RetryInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { Health, HealthCheckResponse_ServingStatus as Serving } from "#gen/grpc/health/v1/health_pb.ts";
import { tokenOf } from "../support/accounts.ts";
import { browserPath, openBrowser } from "../support/browser.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import { freePort } from "../support/ports.ts";
import type { Clients } from "../support/protocols.ts";
import { protocols, refusalOf } from "../support/protocols.ts";
import { openSender, payloadOf, wires } from "../support/wire.ts";
import type { Buyer } from "./checkout-shop.ts";
import { newBuyer } from "./checkout-shop.ts";

if (browserPath === undefined) process.stdout.write("no Chromium on this machine: no page asked for an answer\n");

const AT_ONCE = 4;
const WAITING = 2;

/** The code behind all of this is that of one port: one process is enough. */
let shop: Installation;
let buyer: Buyer;
/** Where pages come from that may read answers, and others that may not. */
const ports: number[] = [];

beforeAll(async () => {
  ports.push(await freePort(), await freePort());
  shop = await startInstallation("one process", {
    CORS_ORIGINS: `https://shop.example,http://localhost:${String(ports[0])}`,
    RATE_LIMITS: "all",
    CALLS_AT_ONCE: String(AT_ONCE),
    CALLS_WAITING: String(WAITING),
    ORDER_OVERLOAD_SECONDS: "1",
  });
  buyer = await newBuyer(shop);
});
afterAll(() => shop[Symbol.asyncDispose]());

async function query(role: string, statement: string): Promise<{ n?: number }[]> {
  const client = new Client({ connectionString: shop.databases[role]?.url ?? "" });
  await client.connect();
  try {
    return (await client.query<{ n?: number }>(statement)).rows;
  } finally {
    await client.end();
  }
}

describe.skipIf(browserPath === undefined)("a page in a browser", () => {
  let browser: Browser;
  const servers = [0, 1].map(() => createServer((_request, response) => response.end("<title>A page</title>")));
  beforeAll(async () => {
    for (const [n, server] of servers.entries()) await once(server.listen(ports[n], "127.0.0.1"), "listening");
    browser = await openBrowser(browserPath ?? "");
  });
  afterAll(async () => {
    await browser.close();
    for (const server of servers) server.close();
  });

  async function pageOf(n: number): Promise<Page> {
    const page = await browser.newPage();
    await page.goto(`http://localhost:${String(ports[n])}/`);
    return page;
  }

  /** What a script of the page gets; "unreadable" where the browser keeps it from it. */
  function ask(page: Page, path: string, init: object): Promise<unknown> {
    return page.evaluate(
      `fetch(${JSON.stringify(shop.url + path)}, ${JSON.stringify(init)}).then(
        async (answer) => [answer.status, answer.headers.get("x-request-id") !== null, await answer.text()],
        () => "unreadable",
      )`,
    );
  }

  /** As clients of each protocol ask, with all headers that they set. */
  const requests = {
    Connect: [
      "/commerce.order.v1.OrderService/ListOrders",
      { "content-type": "application/json", "connect-protocol-version": "1", "connect-timeout-ms": "10000" },
      "{}",
    ],
    "gRPC-Web": [
      "/commerce.order.v1.OrderService/ListOrders",
      {
        "content-type": "application/grpc-web+proto",
        "x-grpc-web": "1",
        "x-user-agent": "connect-es/2",
        "grpc-timeout": "10S",
      },
      "\0\0\0\0\0",
    ],
    "an error": ["/commerce.order.v1.OrderService/GetOrder", { "content-type": "application/json" }, '{"id":"x"}'],
    REST: [
      "/api/v1/orders",
      { accept: "application/json", "if-none-match": '"1"', "last-event-id": "1", "accept-language": "de" },
      undefined,
    ],
    "REST's error": ["/api/v1/orders", { "content-type": "application/json", "idempotency-key": "1" }, '{"items":1}'],
    "what is not there": ["/nothing", { "content-type": "application/json" }, "{}"],
  } as const;

  test.each(Object.entries(requests))("of a listed origin reads %s; one of another does not", async (_what, sent) => {
    const [path, headers, body] = sent;
    const authorization = `Bearer ${await tokenOf(shop.url, buyer.account)}`;
    const init = { method: body === undefined ? "GET" : "POST", headers: { ...headers, authorization }, body };
    expect(await ask(await pageOf(0), path, init)).toEqual([expect.any(Number), true, expect.stringMatching(/./s)]);
    expect(await ask(await pageOf(1), path, init)).toBe("unreadable");
    // Nor without a preflight.
    const simple = { method: "POST", headers: { "content-type": "text/plain" }, body: "" };
    expect(await ask(await pageOf(0), path, simple)).toEqual([expect.any(Number), true, expect.any(String)]);
    expect(await ask(await pageOf(1), path, simple)).toBe("unreadable");
  });

  test("of any origin cannot frame the shop's own pages", async () => {
    const page = await pageOf(0);
    await page.setContent(`<iframe src="${shop.url}/-/user/reset-password"></iframe>`);
    await until(() => page.frames().length === 2);
    const framed = () => page.frames()[1]?.url() ?? "";
    await until(() => /^[\w-]+:\/\//.test(framed()));
    expect(framed()).toMatch(/^chrome-error:/);
  });
});

test.each(["/livez", "/nothing", "/api/v1/products", "/-/user/nothing", "/commerce.user.v1.UserService/GetUser"])(
  "%s has the security headers, and an origin's only where it is listed",
  async (path) => {
    for (const [origin, allowed] of [
      ["https://shop.example", "https://shop.example"],
      ["https://shop.example.evil.test", null],
    ] as const) {
      const { headers } = await fetch(shop.url + path, { headers: { origin, "x-forwarded-proto": "https" } });
      expect(headers.get("access-control-allow-origin")).toBe(allowed);
      expect(headers.get("vary")).toMatch(/^Origin\b/);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("content-security-policy")).toMatch(/default-src 'none'.*frame-ancestors 'none'/);
      expect(headers.get("strict-transport-security")).toBeNull();
    }
  },
);

describe("more than the gateway carries", () => {
  /** Products cannot be read until they are released. */
  async function holdProducts() {
    const client = new Client({ connectionString: shop.databases["product"]?.url ?? "" });
    await client.connect();
    await client.query("begin; lock table products in access exclusive mode");
    return { release: () => client.query("rollback"), [Symbol.asyncDispose]: () => client.end() };
  }

  /** As many calls as run at once have come as far as to the table. */
  async function areHeld(): Promise<boolean> {
    // Not over the connection that holds it: a transaction sees the same activity throughout.
    const [row] = await query(
      "product",
      `select count(*)::int as n from pg_stat_activity
       where datname = current_database() and application_name = 'commerce-product' and wait_event_type = 'Lock'`,
    );
    return row?.n === AT_ONCE;
  }

  const read = ({ products }: Clients, n: number) => products.queryProducts({ pageSize: n + 1 });
  const overloaded = { code: "Unavailable", reason: "OVERLOADED" };

  test("waits a moment, or is refused at once; health is always told", async () => {
    const { clients } = buyer;
    const health = createClient(Health, protocols.gRPC(shop.url, "nobody"));
    await using held = await holdProducts();
    const running = Array.from({ length: AT_ONCE }, (_, n) => read(clients, n));
    await until(areHeld);
    let hasWaited = 0;
    const waiting = Array.from({ length: WAITING }, (_, n) =>
      refusalOf(read(clients, n)).finally(() => (hasWaited += 1)),
    );
    // Behind the others, which wait for a second.
    const error = ConnectError.from(await clients.products.queryProducts({}).catch((refused: unknown) => refused));
    expect([error.code, hasWaited]).toEqual([Code.Unavailable, 0]);
    expect(error.findDetails(ErrorInfoSchema)).toMatchObject([{ reason: "OVERLOADED" }]);
    expect(error.findDetails(RetryInfoSchema)).toMatchObject([{ retryDelay: { seconds: 1n } }]);
    for (const path of ["/livez", "/readyz"]) expect((await fetch(shop.url + path)).status).toBe(200);
    expect((await health.check({})).status).toBe(Serving.SERVING);
    expect(hasWaited).toBe(0);
    expect(await Promise.all(waiting)).toEqual(waiting.map(() => overloaded));
    const told = wires.map(async (wire) => {
      const sender = openSender(wire, shop.url, "nobody");
      const { queryProducts } = ProductService.method;
      const { code, reasons } = await sender.send(queryProducts, payloadOf(queryProducts.input, {}));
      sender.close();
      return [code, ...reasons];
    });
    expect(await Promise.all(told)).toEqual(wires.map(() => ["unavailable", "OVERLOADED"]));
    // What waits when there is room again is served.
    const last = read(clients, 0);
    await held.release();
    expect(await Promise.all([...running, last])).toHaveLength(AT_ONCE + 1);
    expect((await read(clients, 0)).products).toHaveLength(1);
  });

  test("calls whose clients have left make room", async () => {
    const { clients } = buyer;
    await using held = await holdProducts();
    const leave = new AbortController();
    const calls = Array.from({ length: AT_ONCE + WAITING }, (_, n) =>
      clients.products.queryProducts({ pageSize: n + 1 }, { signal: leave.signal }),
    );
    await until(areHeld);
    leave.abort();
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: Code.Canceled });
    await held.release();
    expect(await Promise.all(calls.map((_, n) => read(clients, n)))).toHaveLength(AT_ONCE + WAITING);
  });
});

test("where orders wait too long the shop takes no more, says when to come again, and goes on with the rest", async () => {
  const { clients, sku } = buyer;
  const items = [{ sku, quantity: 1 }];
  const order = (more: object = {}) => clients.orders.createOrder({ items, ...more });
  // Nobody gets a lease: what is due stays due.
  await query(
    "order",
    `create function hold() returns trigger language plpgsql as 'begin return null; end';
     create trigger hold before update on sagas for each row execute function hold()`,
  );
  const idempotencyKey = "a key of this test";
  const first = (await order({ idempotencyKey })).order?.id ?? "";
  const shed = async () => ConnectError.from(await order().catch((refused: unknown) => refused));
  await until(async () => (await shed()).findDetails(ErrorInfoSchema)[0]?.reason === "OVERLOADED");
  const error = await shed();
  expect(error.code).toBe(Code.Unavailable);
  expect(error.findDetails(RetryInfoSchema)).toMatchObject([{ retryDelay: { seconds: 5n } }]);
  // So often that a role which cannot be reached would no longer be asked.
  for (let times = 0; times < 10; times += 1) expect((await shed()).findDetails(ErrorInfoSchema)).toHaveLength(1);
  expect((await buyer.read(first)).state).toBe(OrderState.PENDING);
  expect((await order({ idempotencyKey })).order?.id).toBe(first);
  await query("order", "drop trigger hold on sagas");
  await buyer.readOnce(first, ({ state }) => state === OrderState.CONFIRMED);
  await until(async () => (await order().catch(() => undefined)) !== undefined);
});
