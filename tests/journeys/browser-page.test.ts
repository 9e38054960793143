import { randomUUID } from "node:crypto";
import type { Browser, BrowserContext } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { admin } from "../support/accounts.ts";
import { browserPath, openBrowser } from "../support/browser.ts";
import { until } from "../support/conditions.ts";
import { serveForeignPage } from "../support/foreign-page.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import { freePort } from "../support/ports.ts";
import type { Results, Settings } from "../support/programs/shop-page.ts";
import { query } from "./checkout-shop.ts";

if (browserPath === undefined) process.stdout.write("no Chromium on this machine: no page bought anything\n");

/** Everything that does not depend on chance. */
const expected = {
  isSame: true,
  stock: { onHand: 10, absentSkus: ["NO-SUCH"] },
  found: { price: "1290", searched: [true], paged: 1, streamed: 1 },
  ordered: {
    state: "CONFIRMED",
    isRead: true,
    isSame: true,
    replayed: "true",
    seen: ["PLACED", "STOCK_RESERVED", "PAYMENT_AUTHORIZED", "STOCK_COMMITTED", "CONFIRMED"],
    events: 5,
  },
  batch: ["order", "error"],
  cancelled: "CANCELLED",
  listed: ["CANCELLED", expect.stringMatching(/PENDING|CONFIRMED/) as string, "CONFIRMED"],
  abandoned: { id: expect.stringMatching(/-7/) as string, order: "Canceled", stock: "Canceled" },
  refusals: {
    "no token": "Unauthenticated TOKEN_MISSING",
    "no permission": "PermissionDenied ACCESS_DENIED",
    "a wrong password": "Unauthenticated CREDENTIALS_INVALID",
    "faulty fields": "InvalidArgument INVALID_REQUEST items[0].sku items[0].quantity",
    "another price": "FailedPrecondition PRICE_CHANGED expected_total",
    "what is not for sale": "FailedPrecondition SKU_UNAVAILABLE NO-SUCH",
    "a stream of nobody's": "Unauthenticated TOKEN_MISSING",
  },
};

describe.skipIf(browserPath === undefined)("a page of another origin, without a bundler", () => {
  let shop: Installation;
  let browser: Browser;
  /** Whose pages share what they have loaded. */
  let context: BrowserContext;
  const stack = new AsyncDisposableStack();
  let listed: string;
  let foreign: string;

  beforeAll(async () => {
    const [port, otherPort] = [await freePort(), await freePort()];
    listed = stack.use(await serveForeignPage(port)).url;
    foreign = stack.use(await serveForeignPage(otherPort)).url;
    [shop, browser] = await Promise.all([
      startInstallation("one process", { CORS_ORIGINS: listed }),
      openBrowser(browserPath ?? ""),
    ]);
    stack.use(shop);
    stack.defer(() => browser.close());
    context = await browser.newContext();
  });
  afterAll(() => stack.disposeAsync());

  /** What the page wrote into `window.results`. */
  async function resultsOf(origin: string, transport: Settings["transport"], run = randomUUID()): Promise<Results> {
    const page = await context.newPage();
    const settings: Settings = { shop: shop.url, transport, admin, run };
    await page.goto(`${origin}/?${new URLSearchParams({ settings: JSON.stringify(settings) }).toString()}`);
    await page.waitForFunction("window.results");
    const results = await page.evaluate<Results>("window.results");
    await page.close();
    return results;
  }

  /** How many streams were left by their clients so far. */
  function left(): number {
    const lines = shop.processes["gateway"]?.log ?? [];
    const watches = lines.filter(({ method, code }) => code === "canceled" && String(method).includes("/Watch"));
    return new Set(watches.map(({ requestId }) => requestId)).size;
  }

  const transports: Settings["transport"][] = ["gRPC-Web", "Connect", "Connect JSON"];

  test.each(transports)("registers, sells, buys, watches and is refused over %s", async (transport) => {
    const before = left();
    expect(await resultsOf(listed, transport)).toEqual(expected);
    // Two histories that were cut, one that was given up, and the stock: nobody is served any more.
    await until(() => left() - before === 4);
  });

  test.each(["gRPC-Web", "Connect"] as const)(
    "gets nothing over %s where its origin is not listed, and nothing is done",
    async (transport) => {
      const run = randomUUID();
      const results = await resultsOf(foreign, transport, run);
      expect(results).toEqual({ failed: expect.stringContaining("Failed to fetch") as string });
      const users = await query(shop, "user", "select 1 from users where email = $1", [`${run}@example.com`]);
      expect(users).toEqual([]);
    },
  );
});
