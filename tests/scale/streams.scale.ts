import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Client } from "pg";
import { expect, test } from "vitest";
import type { CreateOrdersRequestSchema } from "#gen/commerce/order/v1/order_pb.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols } from "../support/protocols.ts";

type Request = MessageInitShape<typeof CreateOrdersRequestSchema>;

async function rssMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${String(pid)}/status`, "utf8");
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
}

async function query(shop: Installation, role: string, sql: string, values: unknown[] = []): Promise<string[]> {
  const client = new Client({ connectionString: shop.databases[role]?.url ?? "" });
  await client.connect();
  try {
    const { rows } = await client.query<{ v: string }>(sql, values);
    return rows.map(({ v }) => v);
  } finally {
    await client.end();
  }
}

async function buyer({ users, products }: Clients): Promise<string> {
  await products.addProduct({
    title: "Mug",
    variants: [{ sku: "MUG", price: { currencyCode: "EUR", amountMinor: 1n } }],
  });
  const { user } = await users.createUser({ email: `${randomUUID()}@example.com` });
  return user?.id ?? "";
}

test("100,000 products to a slow reader: memory stays flat", async () => {
  // A small heap, so that what is not collected shows: node lets garbage grow while there is room.
  await using shop = await startInstallation("a process per role", { NODE_OPTIONS: "--max-old-space-size=64" });
  await query(
    shop,
    "product",
    `insert into products (id, title, description, state, tax_category, attributes, image_urls, currency_code,
       lowest_price_minor, title_key, search, version, created_at, updated_at)
     select uuidv7(), 'P' || n, (select string_agg(md5(random()::text || m), '') from generate_series(1, 20) m where n > 0),
       'active', 'standard', '{}', '{}', 'EUR', 1, 'p', '', 1, now(), now()
     from generate_series(1, 100000) n`,
  );
  const { products } = clientsOf(protocols.gRPC(shop.url));
  const pids = { gateway: shop.processes["gateway"]?.pid ?? 0, product: shop.processes["product"]?.pid ?? 0 };
  const lines: string[] = [];
  const peaks = { gateway: 0, product: 0 };
  let read = 0;
  let chunks = 0;
  for await (const chunk of products.listProducts({})) {
    read += chunk.products.length;
    chunks += 1;
    // The reader's own pace, not a wait for the server.
    await delay(20);
    if (chunks % 20 !== 0) continue;
    const now = { gateway: await rssMiB(pids.gateway), product: await rssMiB(pids.product) };
    peaks.gateway = Math.max(peaks.gateway, now.gateway);
    peaks.product = Math.max(peaks.product, now.product);
    lines.push(
      `${String(read).padStart(7)} products: gateway ${String(now.gateway)} MiB, product ${String(now.product)} MiB`,
    );
  }
  console.info(lines.join("\n"));
  expect(read).toBe(100_000);
  // 70 MB went through; a producer that ran ahead would hold it.
  const first = /gateway (\d+) MiB, product (\d+)/.exec(lines[0] ?? "");
  expect(peaks.gateway - Number(first?.[1])).toBeLessThan(64);
  expect(peaks.product - Number(first?.[2])).toBeLessThan(64);
});

test("10,000 orders on one stream: one result each, all in the database", async () => {
  await using shop = await startInstallation("a process per role");
  const clients = clientsOf(protocols.gRPC(shop.url));
  const userId = await buyer(clients);
  const startedAt = performance.now();
  async function* requests(): AsyncIterable<Request> {
    for (let n = 0; n < 10_000; n += 1) {
      yield { sequence: n, order: { userId, items: [{ sku: "MUG", quantity: 1 }], idempotencyKey: `k${String(n)}` } };
    }
  }
  const ids = new Map<number, string>();
  for await (const { sequence, result } of clients.orders.createOrders(requests())) {
    expect(ids.has(sequence)).toBe(false);
    ids.set(sequence, result.case === "order" ? result.value.id : "");
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  console.info(`10,000 orders on one stream: ${seconds.toFixed(1)} s, ${(10_000 / seconds).toFixed(0)} a second`);
  expect(ids.size).toBe(10_000);
  const recorded = new Set(await query(shop, "order", "select id::text as v from orders"));
  expect([...ids.values()].filter((id) => !recorded.has(id))).toEqual([]);
  expect(recorded.size).toBe(10_000);
});

test.each(["the client leaves", "the order role is killed"])(
  "a stream is cut, %s: nothing acknowledged is lost",
  async (how) => {
    await using shop = await startInstallation("a process per role");
    const clients = clientsOf(protocols.gRPC(shop.url));
    const userId = await buyer(clients);
    const leave = new AbortController();
    async function* requests(): AsyncIterable<Request> {
      for (let n = 0; !leave.signal.aborted; n += 1) {
        yield { sequence: n, order: { userId, items: [{ sku: "MUG", quantity: 1 }], idempotencyKey: `k${String(n)}` } };
      }
    }
    const acknowledged: string[] = [];
    try {
      for await (const { result } of clients.orders.createOrders(requests(), { signal: leave.signal })) {
        if (result.case === "order") acknowledged.push(result.value.id);
        if (acknowledged.length !== 1_000) continue;
        if (how === "the client leaves") leave.abort();
        else shop.processes["order"]?.kill("SIGKILL");
      }
    } catch {
      leave.abort();
    }
    expect(acknowledged.length).toBeGreaterThanOrEqual(1_000);
    const recorded = await query(
      shop,
      "order",
      `select id::text as v from orders o where id = any($1::uuid[])
     and exists (select from order_lines where order_id = o.id) and exists (select from order_events where order_id = o.id)`,
      [acknowledged],
    );
    console.info(
      `${how}: ${String(acknowledged.length)} acknowledged, ${String(recorded.length)} of them in the database`,
    );
    expect(recorded.length).toBe(acknowledged.length);
  },
);
