import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import type { Buyers } from "./buyers.ts";
import { createBuyers } from "./buyers.ts";
import type { FaultShop } from "./shop.ts";
import { startFaultShop } from "./shop.ts";

/* What the other files here rely on: a row that breaks a promise is seen, and a process that is killed is gone. */

let shop: FaultShop;
let buyers: Buyers;
/** The order that came to nothing; the other one is confirmed. */
let rejected: string;
beforeAll(async () => {
  shop = await startFaultShop();
  buyers = createBuyers(shop.clients);
  const items = [{ sku: await shop.addGoods(5), quantity: 1 }];
  const bought = [await buyers.buy({ items }), await buyers.buy({ items, token: "tok_declined" })];
  const ends = await Promise.all(bought.map(({ first }) => buyers.settled(first.id)));
  rejected = ends.find(({ state }) => state === OrderState.REJECTED)?.id ?? "";
});
afterAll(() => shop[Symbol.asyncDispose]());

const confirmed = "(select id from orders where state = 'CONFIRMED')";

/** By whose database: what spoils a row, and what takes that back. */
const spoils: readonly (readonly [promise: string, role: string, spoil: string, undo: string])[] = [
  ["I1 stock", "inventory", "update stock_levels set reserved = 1", "update stock_levels set reserved = 0"],
  [
    "I2 order",
    "inventory",
    "update reservation_lines set tracked = false, location = ''",
    "update reservation_lines set tracked = true, location = 'main'",
  ],
  [
    "I3 order",
    "order",
    `insert into order_refunds (id, order_id, amount_minor, state, reason, lines, restock, created_at, settled_at)
     values (gen_random_uuid(), ${confirmed}, 1, 'SUCCEEDED', '', '[]', false, now(), now())`,
    "delete from order_refunds",
  ],
  [
    "I4 order",
    "inventory",
    "update reservations set state = 'EXPIRED' where state = 'COMMITTED'",
    "update reservations set state = 'COMMITTED' where state = 'EXPIRED'",
  ],
  [
    "I5 payment",
    "sandbox",
    "update payments set captured_minor = captured_minor - 1 where state = 'captured'",
    "update payments set captured_minor = captured_minor + 1 where state = 'captured'",
  ],
  [
    "I6 payment",
    "payment",
    "update payments set captured_minor = captured_minor - 1 where state = 'CAPTURED'",
    "update payments set captured_minor = captured_minor + 1 where state = 'CAPTURED'",
  ],
  ["I11 ", "order", "update inbox_marks set applied = applied + 1", "update inbox_marks set applied = applied - 1"],
  [
    "I12 order",
    "order",
    "update sagas set finished_at = null, due_at = 'infinity'",
    "update sagas set finished_at = now()",
  ],
  [
    "I12 order",
    "order",
    "update orders set cancel_requested = true where state = 'CONFIRMED'",
    "update orders set cancel_requested = false",
  ],
  [
    "I13 order",
    "order",
    "update order_events set position = 99 where state = 'CONFIRMED'",
    "update order_events set position = 5 where position = 99",
  ],
  [
    "I14 order",
    "inventory",
    "update reservations set state = 'HELD' where state = 'RELEASED'",
    "update reservations set state = 'RELEASED' where state = 'HELD'",
  ],
  [
    "I15 order",
    "order",
    `insert into order_refunds (id, order_id, amount_minor, state, reason, lines, restock, created_at)
     values (gen_random_uuid(), ${confirmed}, 1, 'PENDING', '', '[]', false, now())`,
    "delete from order_refunds",
  ],
  // The last one: what is gone does not come back.
  ["I10 payment event", "order", "delete from inbox", "select"],
];

test.each(spoils)("a row that breaks %s in the database of %s is seen", async (promise, role, spoil, undo) => {
  expect((await shop.rest()).broken).toEqual([]);
  await change(role, spoil);
  const { broken } = await shop.rest(0);
  await change(role, undo);
  expect(broken.filter((row) => row.startsWith(promise)).length, broken.join("\n")).toBeGreaterThan(0);
});

test("who was told something else than what is recorded tells", async () => {
  expect(await buyers.lies()).toEqual([]);
  await change("order", `update orders set user_id = gen_random_uuid() where id = '${rejected}'`);
  expect(await buyers.lies()).toEqual([`I7 order ${rejected} is not what was acknowledged`]);
});

test("a process that is killed at a point is gone", async () => {
  await shop.failpoints.arm("order.reserve.begun", "kill");
  const items = [{ sku: await shop.addGoods(1), quantity: 1 }];
  await buyers.buy({ items });
  const pid = await shop.failpoints.reached("order.reserve.begun");
  expect(pid).toBe(shop.installation.processes["order"]?.pid);
  expect(await shop.installation.processes["order"]?.exited).toBe("SIGKILL");
  expect(() => process.kill(pid, 0)).toThrow("ESRCH");
});

async function change(role: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: shop.installation.databases[role]?.url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
