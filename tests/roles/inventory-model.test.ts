import { afterAll, beforeAll, expect, test } from "vitest";
import type { Reservation } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { ReservationState } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { newId } from "../../src/platform/id.ts";
import inventoryRole from "../../src/roles/inventory/index.ts";
import { expireHold } from "../../src/roles/inventory/release-reservation.ts";
import type { InventoryTables } from "../../src/roles/inventory/schema.ts";
import type { Random } from "../support/events-random.ts";
import { randomOf, wholeOf } from "../support/events-random.ts";
import type { TestRole } from "../support/role.ts";
import { present, refusal, startTestRole } from "../support/role.ts";
import type { Said } from "./inventory-model.ts";
import { StockModel } from "./inventory-model.ts";
import type { Inventory } from "./inventory-support.ts";
import {
  hold,
  holdsOf,
  makeDue,
  nameOf,
  someSku,
  stockOf,
  sweeping,
  violations,
  watched,
  wrongAlerts,
} from "./inventory-support.ts";

const LOCATIONS = ["main", "berlin", "attic"];

let role: TestRole;
let stock: Inventory;
let orders: Inventory;

beforeAll(async () => {
  role = await startTestRole("inventory", inventoryRole);
  stock = stockOf(role);
  orders = holdsOf(role);
  for (const [at, code] of LOCATIONS.slice(1).entries()) {
    await stock.createLocation({ code, name: code, priority: at + 1 });
  }
});
afterAll(() => role[Symbol.asyncDispose]());

const db = () => role.database<InventoryTables>();

/** One thing that is asked, of the role and of the model. */
interface Step {
  readonly what: string;
  readonly ask: () => Promise<Said>;
  readonly expected: (model: StockModel) => Said;
}

/** The things that a run is about: few, so that they meet. */
interface Cast {
  readonly skus: readonly string[];
  readonly orderIds: readonly string[];
  readonly returnIds: readonly string[];
}

function newCast(): Cast {
  const some = <T>(count: number, make: () => T) => Array.from({ length: count }, make);
  return { skus: some(3, someSku), orderIds: some(14, newId), returnIds: some(8, newId) };
}

function randomStep({ skus, orderIds, returnIds }: Cast, random: Random): Step {
  const one = <T>(of: readonly T[]): T => present(of[wholeOf(random, of.length)]);
  const [sku, orderId, location, other] = [one(skus), one(orderIds), one(LOCATIONS), one(LOCATIONS)];
  const many = 1 + wholeOf(random, 6);
  const dice = wholeOf(random, 100);
  if (dice < 18) return adjust(sku, location, dice < 12 ? many : -many);
  if (dice < 22 && location !== other) return transfer(sku, location, other, many);
  if (dice < 26) return limit(sku, location, many - 1);
  if (dice < 29) return track(sku, many > 2);
  if (dice < 55) return reserve(orderId, { [sku]: many, ...(many % 2 === 0 && { [one(skus)]: 2 }) });
  if (dice < 72) return commit(orderId);
  if (dice < 82) return release(orderId);
  if (dice < 92) return giveBack(orderId, one(returnIds), sku, Math.ceil(many / 2));
  return expire(orderId);
}

const units = BigInt;

function adjust(sku: string, location: string, delta: number): Step {
  return {
    what: `adjust ${sku} at ${location} by ${String(delta)}`,
    ask: () => asked(stock.adjustStock({ sku, location, delta: units(delta) })),
    expected: (model) => model.adjust(sku, location, delta),
  };
}

function transfer(sku: string, from: string, to: string, quantity: number): Step {
  const request = { sku, fromLocation: from, toLocation: to, quantity: units(quantity) };
  return {
    what: `transfer ${String(quantity)} ${sku} from ${from} to ${to}`,
    ask: () => asked(stock.transferStock(request)),
    expected: (model) => model.transfer(sku, from, to, quantity),
  };
}

function limit(sku: string, location: string, backorderLimit: number): Step {
  return {
    what: `limit ${sku} at ${location} to ${String(backorderLimit)}`,
    ask: () => asked(stock.updateStockPolicy({ sku, location, backorderLimit: units(backorderLimit) })),
    expected: (model) => model.limit(sku, location, backorderLimit),
  };
}

function track(sku: string, tracked: boolean): Step {
  return {
    what: `${sku} is ${tracked ? "" : "not "}tracked`,
    ask: () => asked(stock.updateStockPolicy({ sku, tracked, lowStockThreshold: 3n })),
    expected: (model) => model.track(sku, tracked),
  };
}

function reserve(orderId: string, wanted: Readonly<Record<string, number>>): Step {
  const lines = Object.entries(wanted).map(([sku, quantity]) => [sku, units(quantity)] as const);
  return {
    what: `reserve ${orderId} ${JSON.stringify(wanted)}`,
    ask: () => asked(orders.reserveStock(hold(lines, orderId))),
    expected: (model) => model.reserve(orderId, wanted),
  };
}

function commit(orderId: string): Step {
  return {
    what: `commit ${orderId}`,
    ask: () => asked(orders.commitReservation({ orderId })),
    expected: (model) => model.commit(orderId),
  };
}

function release(orderId: string): Step {
  return {
    what: `release ${orderId}`,
    ask: () => asked(orders.releaseReservation({ orderId })),
    expected: (model) => model.release(orderId),
  };
}

function giveBack(orderId: string, returnId: string, sku: string, quantity: number): Step {
  const lines = [{ sku, quantity: units(quantity) }];
  return {
    what: `return ${String(quantity)} ${sku} of ${orderId} by ${returnId}`,
    ask: () => asked(orders.returnStock({ orderId, returnId, lines })),
    expected: (model) => model.giveBack(orderId, returnId, sku, quantity),
  };
}

function expire(orderId: string): Step {
  return {
    what: `expire ${orderId}`,
    ask: async () => {
      await makeDue(db(), [orderId]);
      while (await isHeld(orderId)) await expireHold(sweeping(role));
      return "ok";
    },
    expected: (model) => {
      model.expire(orderId);
      return "ok";
    },
  };
}

async function isHeld(orderId: string): Promise<boolean> {
  const held = db().selectFrom("reservations").select("state").where("order_id", "=", orderId);
  return (await held.executeTakeFirst())?.state === "HELD";
}

/** The answer as the model says it. */
async function asked(call: Promise<{ readonly reservation?: Reservation } | object>): Promise<Said> {
  let answer: { readonly reservation?: Reservation };
  try {
    answer = await call;
  } catch (error) {
    return (await refusal(Promise.reject(error as Error))).reason;
  }
  if (!answer.reservation) return "ok";
  const { state, lines } = answer.reservation;
  const text = lines.map((line) => `${line.sku} ${line.location} ${String(line.quantity)} ${String(line.returned)}`);
  return [nameOf(ReservationState, state), ...text].join("; ");
}

/** The levels of a run's SKUs that were ever touched, as the model says them. */
async function levelsOf(skus: readonly string[]): Promise<string[]> {
  const levels = await db().selectFrom("stock_levels").selectAll().where("sku", "in", skus).execute();
  return levels
    .map((of) => `${of.sku} ${of.location} ${String(of.on_hand)} ${String(of.reserved)} ${String(of.backorder_limit)}`)
    .sort();
}

test.each([1, 2, 3, 4, 5, 6])("does what the model does, by the seed %i", { timeout: 60_000 }, async (seed) => {
  const random = randomOf(seed);
  const cast = newCast();
  const model = new StockModel(LOCATIONS);
  const told: string[] = [];
  for (let at = 0; at < 250; at += 1) {
    const step = randomStep(cast, random);
    told.push(step.what);
    const expected = step.expected(model);
    expect(await step.ask(), `seed ${String(seed)}:\n${told.join("\n")}`).toBe(expected);
  }
  expect(await levelsOf(cast.skus)).toEqual(model.levels());
  expect(await violations(db())).toEqual([]);
});

const MEANT = new Set(
  [
    "STOCK_RESERVED OUT_OF_STOCK RESERVATION_RELEASED RESERVATION_MISMATCH NOT_FOUND RETURN_TOO_LARGE",
    "IDEMPOTENCY_KEY_REUSED ok",
  ].flatMap((names) => names.split(" ")),
);

test.each([11, 12, 13])("keeps the invariants where all is asked at once, by the seed %i", async (seed) => {
  const random = randomOf(seed);
  const cast = newCast();
  const { result, broken } = await watched(db(), async () => {
    const said: Said[] = [];
    for (let round = 0; round < 15; round += 1) {
      const steps = Array.from({ length: 24 }, () => randomStep(cast, random));
      said.push(...(await Promise.all(steps.map(({ ask }) => ask()))));
    }
    return said;
  });
  expect(broken).toEqual([]);
  expect(await wrongAlerts(db())).toEqual([]);
  expect(result.filter((said) => !MEANT.has(said) && !/^(HELD|COMMITTED|RELEASED|EXPIRED)/.test(said))).toEqual([]);
});
