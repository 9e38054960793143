import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ReservationState } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { newId } from "../../src/platform/id.ts";
import inventoryRole from "../../src/roles/inventory/index.ts";
import { expireHold } from "../../src/roles/inventory/release-reservation.ts";
import type { InventoryTables } from "../../src/roles/inventory/schema.ts";
import { until } from "../support/conditions.ts";
import type { TestRole } from "../support/role.ts";
import { present, settled, startTestRole } from "../support/role.ts";
import type { Inventory } from "./inventory-support.ts";
import {
  deadlocks,
  hold,
  holdsOf,
  makeDue,
  read,
  someSku,
  stocked,
  stockOf,
  sweeping,
  unitsOf,
  watched,
  wrongAlerts,
} from "./inventory-support.ts";

let role: TestRole;
let stock: Inventory;
let orders: Inventory;
/** Another instance of the role on the same database. */
let others: Inventory;

beforeAll(async () => {
  role = await startTestRole("inventory", inventoryRole);
  stock = stockOf(role);
  orders = holdsOf(role);
  others = holdsOf(await role.replica());
  await stock.createLocation({ code: "berlin", name: "Berlin", priority: 1 });
  await stock.createLocation({ code: "attic", name: "Attic", priority: 2 });
});
afterAll(() => role[Symbol.asyncDispose]());

const db = () => role.database<InventoryTables>();
const times = <T>(count: number, work: (at: number) => T): T[] => Array.from({ length: count }, (_, at) => work(at));
const anyOf = (at: number) => (at % 2 === 0 ? orders : others);

/** Runs calls at once, while the invariants are looked at: they hold at every commit. */
async function race<T>(calls: () => readonly Promise<T>[]) {
  const { result, broken } = await watched(db(), () => settled(calls()));
  expect(broken).toEqual([]);
  expect(await wrongAlerts(db())).toEqual([]);
  return result;
}

/** How many of each. */
function counted(reasons: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const reason of reasons) counts[reason] = (counts[reason] ?? 0) + 1;
  return counts;
}

const expireOne = () => expireHold(sweeping(role));

test("200 orders at once for 50 units hold exactly 50", async () => {
  const sku = await stocked(stock, 50n);
  const { answers, reasons } = await race(() => times(200, () => orders.reserveStock(hold([[sku, 1n]]))));
  expect(answers).toHaveLength(50);
  expect(counted(reasons)).toEqual({ OUT_OF_STOCK: 150 });
  expect(await unitsOf(stock, sku)).toEqual([50n, 50n, 0n]);
});

test("two instances hold no more than one", async () => {
  const sku = await stocked(stock, 50n);
  const { answers, reasons } = await race(() => times(200, (at) => anyOf(at).reserveStock(hold([[sku, 1n]]))));
  expect(answers).toHaveLength(50);
  expect(counted(reasons)).toEqual({ OUT_OF_STOCK: 150 });
});

test("two lines of one SKU count together", async () => {
  const sku = await stocked(stock, 50n);
  const lines = [
    [sku, 1n],
    [sku, 2n],
  ] as const;
  const { answers, reasons } = await race(() => times(60, (at) => anyOf(at).reserveStock(hold(lines))));
  expect(answers).toHaveLength(16);
  expect(counted(reasons)).toEqual({ OUT_OF_STOCK: 44 });
  expect(await unitsOf(stock, sku)).toEqual([50n, 48n, 2n]);
});

test("orders that split over locations and backorder take every unit, and none twice", async () => {
  const sku = await stocked(stock, { main: 31n, berlin: 17n });
  await stock.updateStockPolicy({ sku, location: "berlin", backorderLimit: 4n });
  const { answers, reasons } = await race(() => times(60, (at) => anyOf(at).reserveStock(hold([[sku, 2n]]))));
  expect(answers).toHaveLength(26);
  expect(counted(reasons)).toEqual({ OUT_OF_STOCK: 34 });
  const { levels } = await read(stock, sku);
  expect(levels.map(({ location, reserved }) => [location, reserved])).toEqual([
    ["main", 31n],
    ["berlin", 21n],
  ]);
});

test("orders that name the same SKUs the other way round do not stop each other", async () => {
  const skus = await Promise.all(times(5, () => stocked(stock, 40n)));
  const turned = skus.toReversed();
  const { answers, reasons } = await race(() =>
    times(120, (at) => anyOf(at).reserveStock(hold((at % 3 === 0 ? skus : turned).map((sku) => [sku, 1n])))),
  );
  expect(answers).toHaveLength(40);
  expect(counted(reasons)).toEqual({ OUT_OF_STOCK: 80 });
});

test("one order that is reserved many times at once is held once", async () => {
  const sku = await stocked(stock, 50n);
  const request = hold([[sku, 3n]]);
  const { answers } = await race(() => times(30, (at) => anyOf(at).reserveStock(request)));
  expect(new Set(answers.map(({ reservation }) => JSON.stringify(reservation?.lines.map(String)))).size).toBe(1);
  expect(answers).toHaveLength(30);
  expect(await unitsOf(stock, sku)).toEqual([50n, 3n, 47n]);
});

test("reserve, commit and release of one order leave it as one order of them would", async () => {
  const sku = await stocked(stock, { main: 60n, berlin: 60n });
  const requests = times(12, () => hold([[sku, 7n]]));
  const { reasons } = await race(() =>
    requests.flatMap((request) =>
      times(9, async (at): Promise<unknown> => {
        const client = anyOf(at);
        if (at % 3 === 0) return client.reserveStock(request);
        return at % 3 === 1 ? client.commitReservation(request) : client.releaseReservation(request);
      }),
    ),
  );
  const known = ["NOT_FOUND", "RESERVATION_RELEASED"];
  expect(reasons.filter((reason) => !known.includes(reason))).toEqual([]);
  for (const { orderId } of requests) {
    const { reservation } = await orders.releaseReservation({ orderId });
    expect(reservation?.state).toBe(ReservationState.RELEASED);
  }
  expect(await unitsOf(stock, sku)).toEqual([120n, 0n, 120n]);
});

test("a release that many ask for at once gives back once", async () => {
  const sku = await stocked(stock, 20n);
  const [held, sold] = [hold([[sku, 4n]]), hold([[sku, 5n]])];
  await orders.reserveStock(held);
  await orders.reserveStock(sold);
  await orders.commitReservation(sold);
  const { reasons } = await race(() =>
    times(20, (at) => anyOf(at).releaseReservation({ orderId: (at % 4 < 2 ? held : sold).orderId })),
  );
  expect(reasons).toEqual([]);
  expect(await unitsOf(stock, sku)).toEqual([20n, 0n, 20n]);
});

test("returns and the release of one order give back what was taken, once", async () => {
  const sku = await stocked(stock, 100n);
  const requests = times(8, () => hold([[sku, 10n]]));
  for (const request of requests) {
    await orders.reserveStock(request);
    await orders.commitReservation(request);
  }
  const { reasons } = await race(() =>
    requests.flatMap(({ orderId }) => {
      const returnId = newId();
      return times(8, async (at): Promise<unknown> => {
        if (at === 7) return orders.releaseReservation({ orderId });
        const id = at < 4 ? returnId : newId();
        return anyOf(at).returnStock({ orderId, returnId: id, lines: [{ sku, quantity: 4n }] });
      });
    }),
  );
  expect(reasons.filter((reason) => reason !== "RETURN_TOO_LARGE")).toEqual([]);
  expect(await unitsOf(stock, sku)).toEqual([100n, 0n, 100n]);
});

test("one return that comes many times at once gives back once", async () => {
  const sku = await stocked(stock, 10n);
  const request = hold([[sku, 10n]]);
  await orders.reserveStock(request);
  await orders.commitReservation(request);
  const back = { orderId: request.orderId, returnId: newId(), lines: [{ sku, quantity: 3n }] };
  const { answers } = await race(() => times(20, (at) => anyOf(at).returnStock(back)));
  expect(answers).toHaveLength(20);
  expect(answers.map(({ reservation }) => reservation?.lines[0]?.returned)).toEqual(times(20, () => 3n));
  expect(await unitsOf(stock, sku)).toEqual([3n, 0n, 3n]);
});

test("a commit that races with the end of its hold takes the units once, or finds them gone", async () => {
  const sku = await stocked(stock, 30n);
  const requests = times(30, () => hold([[sku, 1n]]));
  for (const request of requests) await orders.reserveStock(request);
  await makeDue(
    db(),
    requests.map(({ orderId }) => orderId),
  );
  const { answers, reasons } = await race(() => [
    ...times(40, expireOne).map((call) => call.then(() => undefined)),
    ...requests.map((request, at) =>
      anyOf(at)
        .commitReservation(request)
        .then(() => "committed"),
    ),
    ...times(10, (at) =>
      anyOf(at)
        .reserveStock(hold([[sku, 1n]]))
        .then(() => "held"),
    ),
  ]);
  const of = (what: string) => answers.filter((answer) => answer === what).length;
  expect(Object.keys(counted(reasons)).filter((reason) => reason !== "OUT_OF_STOCK")).toEqual([]);
  const [onHand, reserved] = await unitsOf(stock, sku);
  expect(onHand).toBe(30n - BigInt(of("committed")));
  expect(reserved).toBe(BigInt(of("held")));
});

test("corrections never leave less than what is held", async () => {
  const sku = await stocked(stock, 60n);
  const { answers, reasons } = await race(() => [
    ...times(60, (at) =>
      anyOf(at)
        .reserveStock(hold([[sku, 1n]]))
        .then(() => "held"),
    ),
    ...times(60, () => stock.adjustStock({ sku, delta: -1n }).then(() => "gone")),
  ]);
  expect(answers).toHaveLength(60);
  expect(counted(reasons)).toEqual({
    ...(answers.includes("gone") && { OUT_OF_STOCK: answers.filter((answer) => answer === "gone").length }),
    ...(answers.includes("held") && { STOCK_RESERVED: answers.filter((answer) => answer === "held").length }),
  });
});

test("of corrections of one number that was read only one is made", async () => {
  const sku = await stocked(stock, 10n);
  const { answers, reasons } = await race(() =>
    times(12, () => stock.adjustStock({ sku, delta: 1n, expectedOnHand: 10n })),
  );
  expect(answers).toHaveLength(1);
  expect(counted(reasons)).toEqual({ STOCK_CHANGED: 11 });
});

test("a SKU that many make known at once is one", async () => {
  const sku = someSku();
  const { reasons } = await race<unknown>(() => [
    ...times(10, (at) => stock.adjustStock({ sku, delta: 1n, location: at % 2 === 0 ? "main" : "berlin" })),
    ...times(5, () => stock.updateStockPolicy({ sku, backorderLimit: 2n, lowStockThreshold: 3n })),
  ]);
  expect(reasons).toEqual([]);
  expect((await read(stock, sku)).version).toBe(16n);
  expect(await unitsOf(stock, sku)).toEqual([10n, 0n, 12n]);
});

test("levels that many make at once at several locations are one each", async () => {
  const skus = await Promise.all(times(6, () => stocked(stock, 1n)));
  const { reasons } = await race<unknown>(() =>
    skus.flatMap((sku) =>
      times(8, (at) => stock.adjustStock({ sku, delta: 1n, location: at % 2 === 0 ? "berlin" : "attic" })),
    ),
  );
  expect(reasons).toEqual([]);
  for (const sku of skus) expect(await unitsOf(stock, sku)).toEqual([9n, 0n, 9n]);
});

test("transfers that cross lose nothing", async () => {
  const sku = await stocked(stock, { main: 10n, berlin: 10n });
  const move = (at: number) => {
    const [fromLocation, toLocation] = at % 2 === 0 ? ["main", "berlin"] : ["berlin", "main"];
    return stock.transferStock({ sku, fromLocation, toLocation, quantity: 4n });
  };
  const { reasons } = await race<unknown>(() => [
    ...times(20, move),
    ...times(10, (at) => anyOf(at).reserveStock(hold([[sku, 1n]]))),
  ]);
  expect(Object.keys(counted(reasons)).filter((reason) => reason !== "STOCK_RESERVED")).toEqual([]);
  expect(present(await read(stock, sku)).onHand).toBe(20n);
});

/** Whether anybody waits for a lock of a row. */
async function isWaiting(): Promise<boolean> {
  const { rows } = await sql`select from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'`.execute(db());
  return rows.length > 0;
}

test.each(["reserveStock", "commitReservation", "releaseReservation"] as const)(
  "%s of a SKU whose row somebody hangs with does not stop the others",
  async (method) => {
    const [frozen, other] = [await stocked(stock, 100n), await stocked(stock, 100n)];
    const requests = times(30, () => hold([[frozen, 1n]]));
    const request = hold([[other, 1n]]);
    if (method !== "reserveStock") for (const each of [...requests, request]) await orders.reserveStock(each);
    const ask = (each: typeof request): Promise<unknown> => orders[method](each);

    const { calls, first } = await db()
      .transaction()
      .execute(async (trx) => {
        await trx.selectFrom("stock_items").select("sku").where("sku", "=", frozen).forUpdate().execute();
        const underWay = requests.map(ask);
        await until(isWaiting);
        const anyOfThem = underWay.map((call) => call.catch(() => frozen).then(() => frozen));
        const winner = await Promise.race([ask(request).then(() => other), ...anyOfThem]);
        return { calls: settled(underWay), first: winner };
      });
    // Before any of them has given up.
    expect(first).toBe(other);
    // Who waited too long was refused, and may come again.
    expect((await calls).reasons.filter((reason) => reason !== "OVERLOADED")).toEqual([]);
    for (const each of requests) await ask(each);
    const left = { reserveStock: [100n, 30n], commitReservation: [70n, 0n], releaseReservation: [100n, 0n] }[method];
    expect((await unitsOf(stock, frozen)).slice(0, 2)).toEqual(left);
  },
);

test("in all of these no two transactions stopped each other", async () => {
  expect(await deadlocks(db())).toBe(0n);
});
