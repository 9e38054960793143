import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols } from "../support/protocols.ts";

/** 60 MB of products that do not compress: far more than what buffers and windows on the way hold. */
const PRODUCTS = 6_000;
const BYTES = 320 * 32;

describe.each(topologies)("ListProducts through the gateway in %s", (topology) => {
  let shop: Installation;
  let database: Client;
  let clients: Clients;

  beforeAll(async () => {
    shop = await startInstallation(topology);
    database = new Client({ connectionString: shop.databases["product"]?.url ?? "" });
    await database.connect();
    await database.query(
      `insert into products (id, title, description, state, tax_category, attributes, image_urls, currency_code,
         lowest_price_minor, title_key, search, version, created_at, updated_at)
       select uuidv7(), 'P' || n, (select string_agg(md5(random()::text || m), '') from generate_series(1, $2::int / 32) m where n > 0),
         'active', 'standard', '{}', '{}', 'EUR', 1, 'p', '', 1, now(), now()
       from generate_series(1, $1::int) n`,
      [PRODUCTS, BYTES],
    );
    clients = clientsOf(protocols.gRPC(shop.url));
  });
  afterAll(async () => {
    await database.end();
    await shop[Symbol.asyncDispose]();
  });

  /** Whether the product role has had nothing to do in its database for a second. */
  async function isAtRest(): Promise<boolean> {
    const { rows } = await database.query<{ rest: boolean | null }>(
      `select bool_and(state = 'idle' and state_change < clock_timestamp() - interval '1 s') as rest
       from pg_stat_activity where datname = current_database() and application_name = 'commerce-product'
         and query like '%"products"%'`,
    );
    return rows[0]?.rest ?? true;
  }

  const ended = () =>
    shop.processes["product"]?.log.find(
      ({ role, method, msg, sent }) =>
        msg === "rpc" && role === "product" && String(method).endsWith("/ListProducts") && Number(sent) > 1,
    );

  test("a slow reader holds back the producer, and one that leaves stops the query", async () => {
    const leave = new AbortController();
    const stream = clients.products.listProducts({}, { signal: leave.signal })[Symbol.asyncIterator]();
    const first = await stream.next();
    expect(first.done).toBe(false);
    await until(isAtRest);
    // At rest, and yet not done: it waits for the reader.
    expect(ended()).toBeUndefined();
    // Others are served meanwhile, over the same connections between the processes.
    for await (const { products } of clients.products.listProducts({ limit: 10n })) {
      expect(products.length).toBeGreaterThan(0);
    }
    leave.abort();
    await until(() => ended() !== undefined);
    expect(ended()).toMatchObject({ code: "canceled" });
    expect(Number(ended()?.["sent"])).toBeLessThan((PRODUCTS * BYTES) / 524_288 / 2);
  });

  test("a stream that was cut resumes after the last chunk, without gap or repetition", async () => {
    const ids: string[] = [];
    let token = "";
    for (let cut = 0; cut < 3; cut += 1) {
      const leave = new AbortController();
      let chunks = 0;
      try {
        const stream = clients.products.listProducts({ resumeToken: token }, { signal: leave.signal });
        for await (const { products, resumeToken } of stream) {
          ids.push(...products.map(({ id }) => id));
          token = resumeToken;
          chunks += 1;
          if (chunks === 20 && cut < 2) leave.abort();
        }
      } catch (error) {
        if (!leave.signal.aborted) throw error;
      }
    }
    expect(ids).toHaveLength(PRODUCTS);
    expect(new Set(ids).size).toBe(PRODUCTS);
  });
});
