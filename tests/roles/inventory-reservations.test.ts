import { timestampDate } from "@bufbuild/protobuf/wkt";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Reservation } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { InventoryService, MovementKind, ReservationState } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { newId } from "../../src/platform/id.ts";
import inventoryRole from "../../src/roles/inventory/index.ts";
import type { InventoryTables } from "../../src/roles/inventory/schema.ts";
import { until } from "../support/conditions.ts";
import type { TestRole } from "../support/role.ts";
import { present, refusal, startTestRole } from "../support/role.ts";
import type { Inventory, Lines } from "./inventory-support.ts";
import {
  checkStock,
  hold,
  holdsOf,
  makeDue,
  nameOf,
  read,
  someSku,
  stocked,
  stockOf,
  unitsOf,
} from "./inventory-support.ts";

let role: TestRole;
let stock: Inventory;
let orders: Inventory;

beforeAll(async () => {
  role = await startTestRole("inventory", inventoryRole);
  stock = stockOf(role);
  orders = holdsOf(role);
  await stock.createLocation({ code: "berlin", name: "Berlin", priority: 1 });
});
afterAll(() => role[Symbol.asyncDispose]());

const db = () => role.database<InventoryTables>();

afterEach(() => checkStock(db()));

const stateOf = ({ state }: Reservation) => nameOf(ReservationState, state);
const linesOf = ({ lines }: Reservation) =>
  lines.map(({ sku, location, quantity, returned }) => [sku, location, quantity, returned]);

async function reserve(lines: Lines, orderId = newId()): Promise<Reservation> {
  return present((await orders.reserveStock(hold(lines, orderId))).reservation);
}
async function commit(orderId: string): Promise<Reservation> {
  return present((await orders.commitReservation({ orderId })).reservation);
}
async function release(orderId: string): Promise<Reservation> {
  return present((await orders.releaseReservation({ orderId })).reservation);
}
async function sold(lines: Lines): Promise<string> {
  const { orderId } = await reserve(lines);
  await commit(orderId);
  return orderId;
}
async function giveBack(orderId: string, sku: string, quantity: bigint, returnId = newId()): Promise<Reservation> {
  return present((await orders.returnStock({ orderId, returnId, lines: [{ sku, quantity }] })).reservation);
}
/** The time of a hold is over; answers when the sweeper has seen it. */
async function expire(orderId: string): Promise<void> {
  await makeDue(db(), [orderId]);
  await until(async () => (await reservationState(orderId)) === "EXPIRED");
}
async function reservationState(orderId: string): Promise<string | undefined> {
  const row = await db().selectFrom("reservations").select("state").where("order_id", "=", orderId).executeTakeFirst();
  return row?.state;
}
async function movementsOf(orderId: string) {
  const { movements } = await stock.listMovements({ orderId });
  return movements.map(({ sku, location, kind, delta, onHand }) => [
    sku,
    location,
    nameOf(MovementKind, kind),
    delta,
    onHand,
  ]);
}
async function refused(call: Promise<unknown>) {
  const { kind, reason, details } = await refusal(call);
  return { kind, reason, ...(details.metadata && { metadata: details.metadata }) };
}

describe("ReserveStock", () => {
  test("holds all lines, and moves nothing", async () => {
    const [a, b] = [await stocked(stock, 5n), await stocked(stock, { berlin: 4n })];
    const before = Date.now();
    const reservation = await reserve([
      [b, 1n],
      [a, 2n],
      [b, 1n],
    ]);
    expect(stateOf(reservation)).toBe("HELD");
    expect(linesOf(reservation)).toEqual([
      [a, "main", 2n, 0n],
      [b, "berlin", 2n, 0n],
    ]);
    const expiresAt = timestampDate(present(reservation.expiresAt)).getTime();
    expect(expiresAt).toBeGreaterThan(before + 590_000);
    expect(expiresAt).toBeLessThan(Date.now() + 610_000);
    expect(await unitsOf(stock, a)).toEqual([5n, 2n, 3n]);
    expect(await unitsOf(stock, b)).toEqual([4n, 2n, 2n]);
    expect(await movementsOf(reservation.orderId)).toEqual([]);
  });

  test("holds nothing where there is not enough of one, and may be asked again", async () => {
    const [a, b] = [await stocked(stock, 5n), await stocked(stock, 1n)];
    const lines = [
      [a, 2n],
      [b, 1n],
      [b, 1n],
    ] as const;
    const request = hold(lines);
    expect(await refused(orders.reserveStock(request))).toEqual({
      kind: "failed_precondition",
      reason: "OUT_OF_STOCK",
      metadata: { sku: b, requested: "2", available: "1" },
    });
    expect(await unitsOf(stock, a)).toEqual([5n, 0n, 5n]);
    expect(await reservationState(request.orderId)).toBeUndefined();
    await stocked(stock, 1n, b);
    expect(stateOf(await reserve(lines, request.orderId))).toBe("HELD");
  });

  test("there is nothing of a SKU that was never adjusted", async () => {
    const sku = someSku();
    expect(await refused(orders.reserveStock(hold([[sku, 1n]])))).toMatchObject({
      reason: "OUT_OF_STOCK",
      metadata: { sku, requested: "1", available: "0" },
    });
  });

  test("takes from the first location that has all, and splits only where none has", async () => {
    const sku = await stocked(stock, { main: 3n, berlin: 5n });
    expect(linesOf(await reserve([[sku, 4n]]))).toEqual([[sku, "berlin", 4n, 0n]]);
    expect(linesOf(await reserve([[sku, 4n]]))).toEqual([
      [sku, "berlin", 1n, 0n],
      [sku, "main", 3n, 0n],
    ]);
  });

  test("takes what is owed on backorder after what is there, up to the limit", async () => {
    const sku = await stocked(stock, { main: 1n, berlin: 2n });
    await stock.updateStockPolicy({ sku, backorderLimit: 5n });
    expect(await refused(orders.reserveStock(hold([[sku, 9n]])))).toMatchObject({ metadata: { available: "8" } });
    const { orderId, ...reservation } = await reserve([[sku, 7n]]);
    expect(linesOf(reservation as Reservation)).toEqual([
      [sku, "berlin", 2n, 0n],
      [sku, "main", 5n, 0n],
    ]);
    await commit(orderId);
    expect(await unitsOf(stock, sku)).toEqual([-4n, 0n, 1n]);
  });

  test("a SKU that is not tracked is sold whatever is there, and keeps its levels", async () => {
    const sku = await stocked(stock, 1n);
    await stock.updateStockPolicy({ sku, tracked: false });
    const reservation = await reserve([[sku, 1000n]]);
    expect(linesOf(reservation)).toEqual([[sku, "", 1000n, 0n]]);
    await stock.updateStockPolicy({ sku, tracked: true });
    await commit(reservation.orderId);
    expect(linesOf(await giveBack(reservation.orderId, sku, 10n))).toEqual([[sku, "", 1000n, 10n]]);
    expect(linesOf(await release(reservation.orderId))).toEqual([[sku, "", 1000n, 1000n]]);
    expect(await unitsOf(stock, sku)).toEqual([1n, 0n, 1n]);
    expect(await movementsOf(reservation.orderId)).toEqual([]);
  });

  test("a hold of a SKU that is no longer tracked is kept as it was made", async () => {
    const sku = await stocked(stock, 5n);
    const { orderId } = await reserve([[sku, 3n]]);
    await stock.updateStockPolicy({ sku, tracked: false });
    await commit(orderId);
    expect(await unitsOf(stock, sku)).toEqual([2n, 0n, 2n]);
  });

  test("again answers what there is, in whatever order the lines come", async () => {
    const [a, b] = [await stocked(stock, 5n), await stocked(stock, 5n)];
    const first = await reserve([
      [a, 2n],
      [b, 1n],
    ]);
    const lines = [
      [b, 1n],
      [a, 1n],
      [a, 1n],
    ] as const;
    expect(await reserve(lines, first.orderId.toUpperCase())).toEqual(first);
    expect(stateOf(await commit(first.orderId))).toBe("COMMITTED");
    expect(stateOf(await reserve(lines, first.orderId))).toBe("COMMITTED");
    expect(await refused(orders.reserveStock(hold([[a, 3n]], first.orderId)))).toEqual({
      kind: "failed_precondition",
      reason: "RESERVATION_MISMATCH",
    });
    expect(await unitsOf(stock, a)).toEqual([3n, 0n, 3n]);
  });
});

describe("CommitReservation", () => {
  test("takes the units out, once, and notes it", async () => {
    const sku = await stocked(stock, { main: 2n, berlin: 1n });
    const { orderId } = await reserve([[sku, 3n]]);
    expect(stateOf(await commit(orderId))).toBe("COMMITTED");
    expect(linesOf(await commit(orderId))).toEqual([
      [sku, "berlin", 1n, 0n],
      [sku, "main", 2n, 0n],
    ]);
    expect(await unitsOf(stock, sku)).toEqual([0n, 0n, 0n]);
    const movements = await movementsOf(orderId);
    expect(movements).toHaveLength(2);
    expect(movements).toEqual(
      expect.arrayContaining([
        [sku, "main", "SALE", -2n, 0n],
        [sku, "berlin", "SALE", -1n, 0n],
      ]),
    );
    const { movements: noted } = await stock.listMovements({ orderId });
    expect(noted.map(({ actor, orderId: of }) => [actor, of])).toEqual([
      ["service:order", orderId],
      ["service:order", orderId],
    ]);
  });

  test("is refused where nothing was reserved, or it was released", async () => {
    const orderId = newId();
    expect(await refused(orders.commitReservation({ orderId }))).toEqual({ kind: "not_found", reason: "NOT_FOUND" });
    await release(orderId);
    expect(await refused(orders.commitReservation({ orderId }))).toEqual({
      kind: "failed_precondition",
      reason: "RESERVATION_RELEASED",
    });
  });
});

describe("a hold whose time is over", () => {
  test("ends by itself, within a second", async () => {
    const sku = await stocked(stock, 5n);
    const { reservation } = await orders.reserveStock(hold([[sku, 3n]], newId(), 1));
    const { orderId } = present(reservation);
    await until(async () => (await reservationState(orderId)) === "EXPIRED", 3_000);
    expect(await unitsOf(stock, sku)).toEqual([5n, 0n, 5n]);
    expect(stateOf(await reserve([[sku, 3n]], orderId))).toBe("EXPIRED");
    expect(await movementsOf(orderId)).toEqual([]);
  });

  test("is taken anew, wherever the units are by then", async () => {
    const sku = await stocked(stock, { main: 3n, berlin: 3n });
    const { orderId } = await reserve([[sku, 3n]]);
    await expire(orderId);
    await sold([[sku, 2n]]);
    expect(linesOf(await commit(orderId))).toEqual([[sku, "berlin", 3n, 0n]]);
    expect(await unitsOf(stock, sku)).toEqual([1n, 0n, 1n]);
    expect(linesOf(await giveBack(orderId, sku, 1n))).toEqual([[sku, "berlin", 3n, 1n]]);
  });

  test("is refused where the units are gone, and may be asked again", async () => {
    const sku = await stocked(stock, 3n);
    const { orderId } = await reserve([[sku, 3n]]);
    await expire(orderId);
    const other = await sold([[sku, 1n]]);
    expect(await refused(orders.commitReservation({ orderId }))).toMatchObject({
      reason: "OUT_OF_STOCK",
      metadata: { sku, requested: "3", available: "2" },
    });
    expect(await reservationState(orderId)).toBe("EXPIRED");
    await release(other);
    expect(stateOf(await commit(orderId))).toBe("COMMITTED");
    expect(await unitsOf(stock, sku)).toEqual([0n, 0n, 0n]);
  });

  test("gives back nothing when it is released", async () => {
    const sku = await stocked(stock, 3n);
    const { orderId } = await reserve([[sku, 3n]]);
    await expire(orderId);
    expect(stateOf(await release(orderId))).toBe("RELEASED");
    expect(await unitsOf(stock, sku)).toEqual([3n, 0n, 3n]);
  });
});

describe("ReleaseReservation", () => {
  test("gives back what is held, once, and leaves the rest", async () => {
    const sku = await stocked(stock, 9n);
    const { orderId } = await reserve([[sku, 3n]]);
    await reserve([[sku, 4n]]);
    expect(stateOf(await release(orderId))).toBe("RELEASED");
    expect(stateOf(await release(orderId))).toBe("RELEASED");
    expect(await unitsOf(stock, sku)).toEqual([9n, 4n, 5n]);
    expect((await refusal(orders.reserveStock(hold([[sku, 3n]], orderId)))).reason).toBe("RESERVATION_RELEASED");
  });

  test("puts back what was taken, less what came back before", async () => {
    const sku = await stocked(stock, 9n);
    const orderId = await sold([[sku, 5n]]);
    await giveBack(orderId, sku, 2n);
    expect(linesOf(await release(orderId))).toEqual([[sku, "main", 5n, 5n]]);
    await release(orderId);
    expect(await unitsOf(stock, sku)).toEqual([9n, 0n, 9n]);
    expect(await movementsOf(orderId)).toEqual([
      [sku, "main", "RETURN", 3n, 9n],
      [sku, "main", "RETURN", 2n, 6n],
      [sku, "main", "SALE", -5n, 4n],
    ]);
  });

  test("before its reservation comes, it refuses that", async () => {
    const sku = await stocked(stock, 9n);
    const orderId = newId();
    const reservation = await release(orderId);
    expect([stateOf(reservation), reservation.lines, reservation.expiresAt]).toEqual(["RELEASED", [], undefined]);
    expect(await refused(orders.reserveStock(hold([[sku, 1n]], orderId)))).toEqual({
      kind: "failed_precondition",
      reason: "RESERVATION_RELEASED",
    });
    expect(stateOf(await release(orderId))).toBe("RELEASED");
  });
});

describe("ReturnStock", () => {
  test("puts units back where they came from, once per return", async () => {
    const sku = await stocked(stock, { main: 2n, berlin: 3n });
    const orderId = await sold([[sku, 5n]]);
    const returnId = newId();
    const twice = [
      { sku, quantity: 2n },
      { sku, quantity: 2n },
    ];
    const first = present((await orders.returnStock({ orderId, returnId, lines: twice })).reservation);
    expect(linesOf(first)).toEqual([
      [sku, "berlin", 3n, 3n],
      [sku, "main", 2n, 1n],
    ]);
    const again = await orders.returnStock({ orderId, returnId, lines: twice });
    expect(again.reservation).toEqual(first);
    expect(await unitsOf(stock, sku)).toEqual([4n, 0n, 4n]);
    const { levels } = await read(stock, sku);
    expect(levels.map(({ location, onHand }) => [location, onHand])).toEqual([
      ["main", 1n],
      ["berlin", 3n],
    ]);
  });

  test("is refused for more than was taken and not returned", async () => {
    const sku = await stocked(stock, 5n);
    const orderId = await sold([[sku, 3n]]);
    await giveBack(orderId, sku, 1n);
    expect(await refused(giveBack(orderId, sku, 3n))).toEqual({
      kind: "out_of_range",
      reason: "RETURN_TOO_LARGE",
      metadata: { sku, returnable: "2" },
    });
    expect(await unitsOf(stock, sku)).toEqual([3n, 0n, 3n]);
    const stranger = someSku();
    expect(await refused(giveBack(orderId, stranger, 1n))).toMatchObject({
      metadata: { sku: stranger, returnable: "0" },
    });
  });

  test("a return that was refused may be asked again", async () => {
    const sku = await stocked(stock, 5n);
    const { orderId } = await reserve([[sku, 3n]]);
    const returnId = newId();
    expect((await refusal(giveBack(orderId, sku, 3n, returnId))).reason).toBe("RETURN_TOO_LARGE");
    await commit(orderId);
    expect(linesOf(await giveBack(orderId, sku, 3n, returnId))).toEqual([[sku, "main", 3n, 3n]]);
  });

  test("is refused of what is held, released or was never there", async () => {
    const sku = await stocked(stock, 5n);
    const { orderId } = await reserve([[sku, 3n]]);
    expect((await refusal(giveBack(orderId, sku, 1n))).reason).toBe("RETURN_TOO_LARGE");
    await release(orderId);
    expect((await refusal(giveBack(orderId, sku, 1n))).reason).toBe("RETURN_TOO_LARGE");
    expect(await refused(giveBack(newId(), sku, 1n))).toEqual({ kind: "not_found", reason: "NOT_FOUND" });
  });

  test("is refused where its id was used for other lines, or another order", async () => {
    const sku = await stocked(stock, 9n);
    const [orderId, other] = [await sold([[sku, 3n]]), await sold([[sku, 3n]])];
    const returnId = newId();
    await giveBack(orderId, sku, 1n, returnId);
    expect((await refusal(giveBack(orderId, sku, 2n, returnId))).reason).toBe("IDEMPOTENCY_KEY_REUSED");
    expect((await refusal(giveBack(other, sku, 1n, returnId))).reason).toBe("IDEMPOTENCY_KEY_REUSED");
    expect(await unitsOf(stock, sku)).toEqual([4n, 0n, 4n]);
  });
});

test("only the order role holds stock", async () => {
  const sku = await stocked(stock, 9n);
  const { orderId } = hold([[sku, 1n]]);
  const returned = { orderId, returnId: newId(), lines: [{ sku, quantity: 1n }] };
  for (const client of [stock, role.client(InventoryService, { role: "payment" })]) {
    const calls = [
      client.reserveStock(hold([[sku, 1n]])),
      client.commitReservation({ orderId }),
      client.releaseReservation({ orderId }),
      client.returnStock(returned),
    ];
    for (const call of calls) expect((await refusal(call)).reason).toBe("ACCESS_DENIED");
  }
});
