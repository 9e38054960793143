import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import { until } from "../../support/conditions.ts";
import type { LinkFault } from "../../support/tcp-proxy.ts";
import { printTable, rounds, tally } from "../report.ts";
import type { Buyers } from "./buyers.ts";
import { createBuyers, endOf } from "./buyers.ts";
import type { FaultShop } from "./shop.ts";
import { startFaultShop } from "./shop.ts";

/*
 * The ways between the roles go wrong while people buy, cancel and are refunded: connections break, stay open without a
 * word, lose the answers of what was done, or take long. When they are well again every promise holds.
 */

const startedAt = performance.now();
const links = ["order>inventory", "order>payment", "payment>sandbox", "sandbox>payment", "gateway>order"];
const faults: readonly LinkFault[] = ["cut", "silent", "lost answers", "slow"];
const all = links.flatMap((link) => faults.map((fault) => ({ link, fault })));
const chosen = rounds >= 20 ? all : all.filter((_, index) => index % 5 === 0);
const table: string[][] = [["link", "fault", "at rest after", "orders ended"]];

describe("a way between two roles goes wrong", () => {
  let shop: FaultShop;
  let buyers: Buyers;
  beforeAll(async () => {
    shop = await startFaultShop({ links });
    buyers = createBuyers(shop.clients);
  });
  afterAll(async () => {
    await shop[Symbol.asyncDispose]();
    printTable("Ways that go wrong", startedAt, table);
  });

  test.each(chosen)("$link: $fault", async ({ link, fault }) => {
    const sku = await shop.addGoods(30);
    const items = [{ sku, quantity: 1 }];
    const tokens = ["tok_approved", "tok_declined", "tok_error_after_charge"];
    const { first: paid } = await buyers.buy({ items });
    expect((await buyers.settled(paid.id)).state).toBe(OrderState.CONFIRMED);
    const { first: kept } = await buyers.buy({ items });
    expect((await buyers.settled(kept.id)).state).toBe(OrderState.CONFIRMED);
    const bought = Array.from({ length: 12 }, (_, at) => buyers.buy({ items, token: tokens[at % 3] ?? "" }));
    shop.links[link]?.setFault(fault);
    const cancels = [
      buyers.cancel(paid.id),
      buyers.refund(kept.id, true),
      ...bought.slice(0, 3).map(async (one) => buyers.cancel((await one).first.id)),
    ];
    // Long enough to be met by what waits, and by what is tried again.
    const brokenSince = performance.now();
    await until(() => performance.now() - brokenSince > 3_000);
    shop.links[link]?.setFault("none");
    await Promise.all([...bought, ...cancels]);
    const { ms, broken } = await shop.rest();
    const orders = await Promise.all((await Promise.all(bought)).map(({ first }) => buyers.get(first.id)));
    table.push([link, fault, `${(ms / 1_000).toFixed(1)} s`, tally(orders.map(endOf))]);
    expect(broken).toEqual([]);
  });

  test("every buyer has what they were told", async () => {
    expect(await buyers.lies()).toEqual([]);
  });
});
