import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { jwtVerify } from "jose";
import { Client } from "pg";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { snippetsOf } from "../../scripts/docs/snippets.ts";
import type { Account } from "../support/accounts.ts";
import { createAccount } from "../support/accounts.ts";
import { browserPath, openBrowser } from "../support/browser.ts";
import { addStocked, stockOf } from "../support/checkout.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { present } from "../support/role.ts";
import type { ShopKey } from "../support/shop-key.ts";
import { shopKeyOf } from "../support/shop-key.ts";
import { startProxy } from "../support/tcp-proxy.ts";
import type { Consumer } from "./package.ts";
import { installPackage } from "./package.ts";
import { servePages } from "./pages.ts";
import type { callWith, Expired } from "./programs/tokens.ts";
import type { Walk } from "./programs/walk.ts";

const shopper: Account = { email: "shopper@example.com", password: "connect-commerce" };
const MINUTE_MS = 60_000;

const snippets = snippetsOf("clients/ts/README.md");

let shop: Installation;
let consumer: Consumer;
let key: ShopKey;
let admin: Clients;
let sku: string;
beforeAll(async () => {
  const readme = snippets.map(({ code }) => code).join("\n");
  [consumer, shop] = await Promise.all([installPackage({ readme }), startInstallation("one process")]);
  process.stdout.write(`the client's programs run under Node ${consumer.nodeVersion}\n`);
  await createAccount(shop.url, shopper, "");
  admin = clientsOf(protocols["Connect binary"](shop.url));
  sku = await addStocked(admin, { main: 100 });
  key = await shopKeyOf(shop);
});
afterAll(async () => {
  await shop[Symbol.asyncDispose]();
  await consumer[Symbol.asyncDispose]();
});

/** What the walk of programs/walk.ts has to come to. */
const walked = {
  stranger: "TOKEN_MISSING",
  mistaken: "CREDENTIALS_INVALID",
  title: "A mug",
  email: shopper.email,
  steps: 5,
  confirmed: true,
  amount: "2580",
  unknown: "SKU_UNAVAILABLE",
  faulty: ["INVALID_REQUEST", "items[0].quantity"],
  batch: ["SKU_UNAVAILABLE", "order"],
  after: "TOKEN_MISSING",
  loggedOut: ["asked"],
};

/** Of a login, as an app keeps them. */
async function freshTokens(account = shopper): Promise<Expired["tokens"]> {
  const { auth } = clientsOf(protocols["Connect JSON"](shop.url, "nobody"));
  const { accessToken, accessTokenExpiresAt, refreshToken } = await auth.login(account);
  return { accessToken, accessTokenExpiresAt: timestampMs(present(accessTokenExpiresAt)), refreshToken };
}

/** Of a login whose access token ends in so many seconds, and of which the client knows another end. */
async function ageing(expiresIn: number, expiresAt: number, account = shopper): Promise<Expired["tokens"]> {
  const tokens = await freshTokens(account);
  const { payload } = await jwtVerify(tokens.accessToken, key.publicKey);
  const claims = { userId: payload.sub ?? "", sessionId: String(payload["sid"]) };
  const accessToken = await key.sign({ ...claims, issuedIn: expiresIn - 600, expiresIn });
  return { ...tokens, accessToken, accessTokenExpiresAt: expiresAt };
}

/** Of whose end the client knows nothing. */
const unsuspected = (account = shopper) => ageing(-60, Date.now() + 10 * MINUTE_MS, account);

const callWithTokens = (expired: Omit<Expired, "baseUrl">) =>
  consumer.call<Awaited<ReturnType<typeof callWith>>>("tokens", "callWith", { baseUrl: shop.url, ...expired });

describe("in Node", () => {
  test.each([
    { protocol: "connect", format: "json" },
    { protocol: "connect", format: "binary" },
    { protocol: "grpc-web", format: "binary" },
  ] as const)("a shopper's way, $protocol $format", async (way) => {
    const given: Walk = { ...way, baseUrl: shop.url, account: shopper, sku };
    expect(await consumer.call("walk", "walk", given)).toEqual(walked);
  });

  test("what the README says to write compiles, and works", async () => {
    const price = { currencyCode: "EUR", amountMinor: 1_290n };
    await admin.products.addProduct({ title: "Mug", variants: [{ sku: "MUG-1", price }] });
    await admin.inventory.adjustStock({ sku: "MUG-1", delta: 5n });
    expect(snippets.length).toBeGreaterThanOrEqual(3);
    const file = join(consumer.path, "readme.js");
    await writeFile(file, (await readFile(file, "utf8")).replaceAll("http://localhost:8080", shop.url));
    const printed = await consumer.start("readme");
    expect(printed[0]).toContain("Mug");
    expect(printed.filter((line) => line.startsWith("items[0].quantity"))).toHaveLength(1);
    expect(printed.at(-1)).toBe("asked");
    expect((await stockOf(admin, "MUG-1"))["onHand"]).toBe(4n);
  });

  test.each([
    ["that the shop refuses", () => unsuspected()],
    ["that is known to be over", () => ageing(-60, Date.now() - MINUTE_MS)],
  ])("twenty calls at once with an access token %s make one refresh", async (_what, tokensOf) => {
    const tokens = await tokensOf();
    const { outcomes, refreshes, kept, loggedOut } = await callWithTokens({ tokens, calls: 20 });
    expect({ outcomes: outcomes.length, refreshes, loggedOut }).toEqual({ outcomes: 1, refreshes: 1, loggedOut: [] });
    expect(outcomes[0]).toMatch(/ orders$/);
    expect(kept?.refreshToken).not.toBe(tokens.refreshToken);
  });

  test("a token that is about to end is exchanged while calls go out with it", async () => {
    const tokens = await ageing(20, Date.now() + 20_000);
    const { outcomes, refreshes, kept } = await callWithTokens({ tokens, calls: 5, waits: true });
    expect(outcomes[0]).toMatch(/ orders$/);
    expect(refreshes).toBe(1);
    expect(kept?.accessToken).not.toBe(tokens.accessToken);
  });

  test("a refresh whose answer is lost is asked again, and the session lives", async () => {
    const { refreshes, kept, outcomes } = await callWithTokens({
      tokens: await unsuspected(),
      calls: 3,
      isAnswerLost: true,
    });
    expect(refreshes).toBe(2);
    expect(outcomes[0]).toMatch(/ orders$/);
    const again = await callWithTokens({ tokens: present(kept), calls: 1 });
    expect(again).toMatchObject({ refreshes: 0, loggedOut: [] });
  });

  test("a stream begins with another token where the shop refuses its own", async () => {
    const { order } = await clientsOf(protocols["Connect JSON"](shop.url, shopper)).orders.createOrder({
      items: [{ sku, quantity: 1 }],
    });
    const tokens = await unsuspected();
    const { outcomes, refreshes } = await callWithTokens({ tokens, calls: 1, watch: order?.id ?? "" });
    expect({ outcomes, refreshes }).toEqual({ outcomes: ["position 1"], refreshes: 1 });
  });

  test("the app hears once of a session that the shop has ended", async () => {
    const another: Account = { email: "another@example.com", password: shopper.password };
    await createAccount(shop.url, another, "");
    const tokens = await unsuspected(another);
    await clientsOf(protocols["Connect JSON"](shop.url, another)).auth.logoutEverywhere({});
    const { outcomes, loggedOut, kept } = await callWithTokens({ tokens, calls: 5 });
    expect(loggedOut).toEqual(["ended"]);
    expect(outcomes.filter((outcome) => !outcome.startsWith("TOKEN_"))).toEqual([]);
    expect(kept).toBeUndefined();
  });

  test("an order whose answer is lost is asked for again, and is one", async () => {
    await using way = await startProxy(shop.url);
    const tokens = await freshTokens();
    const own = await addStocked(admin, { main: 5 });
    way.setFault("lost answers");
    const whenRecorded = until(async () => (await stockOf(admin, own))["onHand"] === 4n, 20_000);
    const [id] = await Promise.all([
      consumer.call<string>("faults", "order", { baseUrl: way.url, tokens, sku: own }),
      whenRecorded.then(() => way.setFault("none")),
    ]);
    const { orders } = await clientsOf(protocols["Connect JSON"](shop.url, shopper)).orders.listOrders({});
    expect(orders.filter(({ lines }) => lines[0]?.sku === own).map((order) => order.id)).toEqual([id]);
  });

  test("a watch goes on where its connection was cut, each step once", async () => {
    await using way = await startProxy(shop.url);
    const clients = clientsOf(protocols["Connect JSON"](shop.url, shopper));
    const { order } = await clients.orders.createOrder({ items: [{ sku, quantity: 1 }] });
    const id = order?.id ?? "";
    const tokens = await freshTokens();
    const seen: string[] = [];
    const cutAt = async (position: string, then: () => Promise<unknown>) => {
      await until(() => seen.includes(`position ${position}`), 20_000);
      way.drop();
      await then();
    };
    const [watched] = await Promise.all([
      consumer.call<string[]>("faults", "watch", { baseUrl: way.url, tokens, id }, (line) => seen.push(line)),
      cutAt("5", () => admin.orders.fulfilOrder({ id })),
      cutAt("6", () => admin.orders.deliverOrder({ id })),
    ]);
    expect(watched).toEqual(["1", "2", "3", "4", "5", "6", "7"]);
  });

  test("an export goes on where it was cut, each product once, and not more than its limit", async () => {
    const database = new Client({ connectionString: shop.databases["product"]?.url ?? "" });
    await database.connect();
    await database.query(
      `insert into products (id, title, description, state, tax_category, attributes, image_urls, currency_code,
         lowest_price_minor, title_key, search, version, created_at, updated_at)
       select uuidv7(), 'P' || n, repeat('x', 2000), 'active', 'standard', '{}', '{}', 'EUR', 1, 'p', '', 1, now(), now()
       from generate_series(1, 1200) n`,
    );
    const { rows } = await database.query<{ id: string }>("select id from products order by id");
    await database.end();
    const tokens = await freshTokens();
    const all = rows.map(({ id }) => id);
    const take = (limit: number) => consumer.call("faults", "exportAll", { baseUrl: shop.url, tokens, limit });
    expect(await take(0)).toEqual({ calls: 2, ids: all });
    expect(await take(1_000)).toEqual({ calls: 2, ids: all.slice(0, 1_000) });
  });
});

if (browserPath === undefined) process.stdout.write("no Chromium on this machine: the client was not run in one\n");

describe.skipIf(browserPath === undefined)("in a browser", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await openBrowser(browserPath ?? "");
  });
  afterAll(() => browser.close());

  test("a shopper's way, and twenty calls with an expired token", async () => {
    await using pages = await servePages(consumer.path, shop.url);
    const page = await browser.newPage();
    await page.goto(`${pages.url}/app/page.html`);
    // As text: what runs in the page has types that nothing else here has.
    const call = <T>(program: string, name: string, given: object) =>
      page.evaluate<T>(
        `import("/app/${program}.js").then((program) => program.${name}(${JSON.stringify({ baseUrl: pages.url, ...given })}))`,
      );
    for (const way of [
      { protocol: "connect", format: "json" },
      { protocol: "grpc-web", format: "binary" },
    ]) {
      expect(await call("walk", "walk", { ...way, account: shopper, sku })).toEqual(walked);
    }
    const tokens = await unsuspected();
    const { outcomes, refreshes } = await call<Awaited<ReturnType<typeof callWith>>>("tokens", "callWith", {
      tokens,
      calls: 20,
    });
    expect({ outcomes: outcomes.length, refreshes }).toEqual({ outcomes: 1, refreshes: 1 });
    expect(outcomes[0]).toMatch(/ orders$/);
  });
});
