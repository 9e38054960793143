import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { InventoryEventSchema } from "#gen/commerce/inventory/v1/events_pb.ts";
import type { StockItem, WatchStockResponse } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import {
  AvailabilityState,
  InventoryErrorReason,
  InventoryService,
  MovementKind,
} from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { anonymous } from "../../src/platform/call.ts";
import { codeOf } from "../../src/platform/database-errors.ts";
import { newId } from "../../src/platform/id.ts";
import { inventoryErrors } from "../../src/roles/inventory/errors.ts";
import inventoryRole from "../../src/roles/inventory/index.ts";
import type { InventoryTables } from "../../src/roles/inventory/schema.ts";
import { eventsOf } from "../support/outbox.ts";
import type { TestRole } from "../support/role.ts";
import { adminSubject, peer, present, refusal, replayNote, settled, startTestRole } from "../support/role.ts";
import type { Inventory } from "./inventory-support.ts";
import { checkStock, hold, holdsOf, nameOf, read, someSku, stocked, stockOf, unitsOf } from "./inventory-support.ts";

let role: TestRole;
let stock: Inventory;
let orders: Inventory;

const catalogue = [["MUG-WHITE", "MUG-BLACK"], ["TEE-S"]];

beforeAll(async () => {
  const products = peer(ProductService, {
    async *listProducts() {
      for (const skus of catalogue) yield { products: [{ variants: skus.map((sku) => ({ sku })) }] };
    },
  });
  role = await startTestRole("inventory", inventoryRole, { peers: [products] });
  stock = stockOf(role);
  orders = holdsOf(role);
  await stock.createLocation({ code: "berlin", name: "Berlin", priority: 1 });
});
afterAll(() => role[Symbol.asyncDispose]());

const db = () => role.database<InventoryTables>();

afterEach(() => checkStock(db()));

async function refused(call: Promise<unknown>) {
  const { kind, reason, details } = await refusal(call);
  const fields = details.fields?.map(({ field }) => field);
  return { kind, reason, ...(details.metadata && { metadata: details.metadata }), ...(fields && { fields }) };
}

test("the role's errors are the reasons of its proto", () => {
  const reasons = Object.keys(InventoryErrorReason).filter((name) => name !== "UNSPECIFIED");
  expect(Object.keys(inventoryErrors).sort()).toEqual(reasons.sort());
});

describe("AdjustStock", () => {
  test("makes a SKU known, and notes why and by whom", async () => {
    const sku = someSku();
    const { stock: item, movement } = await stock.adjustStock({ sku, delta: 12n, reason: "delivery 7" });
    expect(item).toMatchObject({ sku, tracked: true, onHand: 12n, reserved: 0n, available: 12n, version: 2n });
    expect(item?.levels).toMatchObject([{ location: "main", onHand: 12n, available: 12n, backorderLimit: 0n }]);
    expect(movement).toMatchObject({
      sku,
      location: "main",
      kind: MovementKind.RECEIPT,
      delta: 12n,
      onHand: 12n,
      reason: "delivery 7",
      orderId: "",
      actor: adminSubject.kind === "user" ? adminSubject.id : "",
    });
    expect(await read(stock, sku)).toEqual(item);
    expect((await stock.listMovements({ sku })).movements).toEqual([movement]);
  });

  test.each([
    [MovementKind.UNSPECIFIED, 5n, MovementKind.RECEIPT],
    [MovementKind.UNSPECIFIED, -1n, MovementKind.ADJUSTMENT],
    [MovementKind.RETURN, 5n, MovementKind.RETURN],
    [MovementKind.ADJUSTMENT, 5n, MovementKind.ADJUSTMENT],
    [MovementKind.ADJUSTMENT, -1n, MovementKind.ADJUSTMENT],
    [MovementKind.RECEIPT, 5n, MovementKind.RECEIPT],
  ] as const)("the kind %s of %s units is %s", async (kind, delta, noted) => {
    const sku = await stocked(stock, 3n);
    expect((await stock.adjustStock({ sku, delta, kind })).movement?.kind).toBe(noted);
  });

  test.each([MovementKind.RECEIPT, MovementKind.RETURN])("the kind %s takes nothing away", async (kind) => {
    const sku = await stocked(stock, 3n);
    expect(await refused(stock.adjustStock({ sku, delta: -1n, kind }))).toMatchObject({
      reason: "INVALID_REQUEST",
      fields: ["delta"],
    });
    expect(await unitsOf(stock, sku)).toEqual([3n, 0n, 3n]);
  });

  test("is refused where less would be left than is held", async () => {
    const sku = await stocked(stock, 5n);
    await orders.reserveStock(hold([[sku, 3n]]));
    expect(await refused(stock.adjustStock({ sku, delta: -3n }))).toEqual({
      kind: "failed_precondition",
      reason: "STOCK_RESERVED",
      metadata: { sku, location: "main", on_hand: "5", reserved: "3" },
    });
    await stock.adjustStock({ sku, delta: -2n });
    expect(await refused(stock.adjustStock({ sku, delta: -1n, location: "berlin" }))).toMatchObject({
      metadata: { location: "berlin", on_hand: "0", reserved: "0" },
    });
  });

  test("is refused where another number is on hand than was expected, and at no location", async () => {
    const sku = await stocked(stock, 5n);
    expect(await refused(stock.adjustStock({ sku, delta: 1n, expectedOnHand: 4n }))).toEqual({
      kind: "aborted",
      reason: "STOCK_CHANGED",
      metadata: { on_hand: "5" },
    });
    await stock.adjustStock({ sku, delta: 1n, expectedOnHand: 5n });
    const fresh = someSku();
    expect(await refused(stock.adjustStock({ sku: fresh, delta: 1n, location: "nowhere" }))).toEqual({
      kind: "failed_precondition",
      reason: "LOCATION_UNKNOWN",
      metadata: { location: "nowhere" },
    });
    expect((await stock.batchGetStock({ skus: [fresh] })).absentSkus).toEqual([fresh]);
  });

  test("with a key it is done once", async () => {
    const sku = someSku();
    const request = { sku, delta: 4n, idempotencyKey: "adjust" };
    const first = await stock.adjustStock(request);
    const note = replayNote();
    expect(await stock.adjustStock(request, note.options)).toEqual(first);
    expect(note.replayed).toBe("true");
    expect((await refusal(stock.adjustStock({ ...request, delta: 5n }))).reason).toBe("IDEMPOTENCY_KEY_REUSED");
    expect(await unitsOf(stock, sku)).toEqual([4n, 0n, 4n]);
    const { answers } = await settled(
      Array.from({ length: 10 }, () => stock.adjustStock({ sku, delta: 1n, idempotencyKey: "at once" })),
    );
    expect(answers).toHaveLength(10);
    expect(await unitsOf(stock, sku)).toEqual([5n, 0n, 5n]);
  });

  test("names what is wrong with a request", async () => {
    const call = stock.adjustStock({ sku: "", delta: 0n, kind: MovementKind.SALE, idempotencyKey: "\u0007" });
    expect((await refused(call)).fields?.sort()).toEqual(
      expect.arrayContaining(["delta", "idempotency_key", "kind", "sku"]),
    );
  });
});

describe("TransferStock", () => {
  test("moves units that are not held, by two movements", async () => {
    const sku = await stocked(stock, 5n);
    await orders.reserveStock(hold([[sku, 2n]]));
    const request = { sku, fromLocation: "main", toLocation: "berlin", quantity: 3n, reason: "closer" };
    const { stock: item } = await stock.transferStock(request);
    expect(item?.levels.map(({ location, onHand, reserved }) => [location, onHand, reserved])).toEqual([
      ["main", 2n, 2n],
      ["berlin", 3n, 0n],
    ]);
    const { movements } = await stock.listMovements({ sku, pageSize: 2 });
    expect(movements.map(({ kind, delta, reason }) => [kind, delta, reason])).toEqual([
      [MovementKind.TRANSFER, 3n, "closer"],
      [MovementKind.TRANSFER, -3n, "closer"],
    ]);
    expect(await refused(stock.transferStock({ ...request, quantity: 1n }))).toEqual({
      kind: "failed_precondition",
      reason: "STOCK_RESERVED",
      metadata: { sku, location: "main", on_hand: "2", reserved: "2" },
    });
  });

  test("moves nothing that is owed, to nowhere, or to where it is", async () => {
    const sku = await stocked(stock, 1n);
    await stock.updateStockPolicy({ sku, backorderLimit: 9n });
    const request = { sku, fromLocation: "main", toLocation: "berlin", quantity: 2n };
    expect((await refused(stock.transferStock(request))).reason).toBe("STOCK_RESERVED");
    for (const place of [{ toLocation: "nowhere" }, { fromLocation: "nowhere" }]) {
      expect(await refused(stock.transferStock({ ...request, ...place }))).toMatchObject({
        reason: "LOCATION_UNKNOWN",
        metadata: { location: "nowhere" },
      });
    }
    const same = stock.transferStock({ ...request, toLocation: "main" });
    expect(await refused(same)).toMatchObject({ reason: "INVALID_REQUEST", fields: ["to_location"] });
    const fresh = stock.transferStock({ ...request, sku: someSku() });
    expect((await refused(fresh)).metadata).toMatchObject({ on_hand: "0" });
  });
});

describe("UpdateStockPolicy", () => {
  test("changes what is given, and nothing else", async () => {
    const sku = await stocked(stock, 5n);
    await stock.updateStockPolicy({ sku, lowStockThreshold: 4n, backorderLimit: 2n, location: "berlin" });
    const { stock: item } = await stock.updateStockPolicy({ sku, tracked: false });
    expect(item).toMatchObject({ tracked: false, lowStockThreshold: 4n, onHand: 5n, available: 7n, version: 4n });
    expect(item?.levels.map(({ location, backorderLimit }) => [location, backorderLimit])).toEqual([
      ["main", 0n],
      ["berlin", 2n],
    ]);
    expect(await read(stock, sku)).toEqual(item);
  });

  test("a limit that orders are beyond is refused", async () => {
    const sku = someSku();
    await stock.updateStockPolicy({ sku, backorderLimit: 5n });
    await orders.reserveStock(hold([[sku, 3n]]));
    expect(await refused(stock.updateStockPolicy({ sku, backorderLimit: 2n }))).toEqual({
      kind: "failed_precondition",
      reason: "STOCK_RESERVED",
      metadata: { sku, location: "main", on_hand: "0", reserved: "3" },
    });
    const nowhere = stock.updateStockPolicy({ sku, backorderLimit: 2n, location: "nowhere" });
    expect((await refused(nowhere)).reason).toBe("LOCATION_UNKNOWN");
  });
});

describe("reading", () => {
  test("BatchGetStock answers in the order asked for, each once, and lists what is not known", async () => {
    const [a, b, none] = [await stocked(stock, 1n), await stocked(stock, 2n), someSku()];
    const answer = await stock.batchGetStock({ skus: [b, none, a, b] });
    expect(answer.stock.map(({ sku }) => sku)).toEqual([b, a]);
    expect(answer.absentSkus).toEqual([none]);
  });

  test("ListStock pages by SKU, of a location, of what is low", async () => {
    const skus = await Promise.all(
      ["p-a", "p-b", "p-c"].map((sku, at) => stocked(stock, at === 1 ? { berlin: 2n } : { main: 5n }, sku)),
    );
    await stock.updateStockPolicy({ sku: "p-c", lowStockThreshold: 6n });
    const pages: string[][] = [];
    let pageToken = "";
    do {
      const page = await stock.listStock({ pageSize: 2, pageToken });
      pages.push(page.stock.map(({ sku }) => sku));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    const listed = pages.flat();
    expect(listed).toEqual([...new Set(listed)].sort());
    expect(listed.filter((sku) => skus.includes(sku))).toEqual(skus);
    const skusOf = async (filter: { location?: string; onlyLow?: boolean }) =>
      (await stock.listStock({ pageSize: 500, ...filter })).stock.map(({ sku }) => sku);
    expect((await skusOf({ location: "berlin" })).filter((sku) => skus.includes(sku))).toEqual(["p-b"]);
    expect((await skusOf({ onlyLow: true })).filter((sku) => skus.includes(sku))).toEqual(["p-c"]);
    const { nextPageToken } = await stock.listStock({ pageSize: 1 });
    const foreign = stock.listStock({ onlyLow: true, pageToken: nextPageToken });
    expect((await refused(foreign)).fields).toEqual(["page_token"]);
  });

  test("ListMovements pages newest first, by SKU, location and order", async () => {
    const sku = await stocked(stock, { main: 3n, berlin: 4n });
    const request = hold([[sku, 4n]]);
    await orders.reserveStock(request);
    await orders.commitReservation(request);
    const deltas = async (filter: Parameters<Inventory["listMovements"]>[0]) =>
      (await stock.listMovements(filter)).movements.map(({ delta }) => delta);
    const first = await stock.listMovements({ sku, pageSize: 2 });
    expect(first.movements.map(({ delta }) => delta)).toEqual([-4n, 4n]);
    expect(await deltas({ sku, pageSize: 2, pageToken: first.nextPageToken })).toEqual([3n]);
    expect(await deltas({ sku, location: "main" })).toEqual([3n]);
    expect(await deltas({ orderId: request.orderId.toUpperCase() })).toEqual([-4n]);
  });

  test("BatchGetAvailability tells anybody whether it can be bought, and no numbers", async () => {
    const [enough, few, owed, none] = [await stocked(stock, 9n), await stocked(stock, 2n), someSku(), someSku()];
    await stock.updateStockPolicy({ sku: few, lowStockThreshold: 3n });
    await stock.updateStockPolicy({ sku: owed, backorderLimit: 3n });
    const anybody = role.client(InventoryService, { subject: anonymous });
    const { availabilities } = await anybody.batchGetAvailability({ skus: [few, none, enough, owed, few] });
    expect(availabilities.map(({ sku, state }) => [sku, nameOf(AvailabilityState, state)])).toEqual([
      [few, "LOW_STOCK"],
      [none, "OUT_OF_STOCK"],
      [enough, "IN_STOCK"],
      [owed, "BACKORDER"],
    ]);
  });
});

describe("locations", () => {
  test("are listed in the order in which orders take from them", async () => {
    await stock.createLocation({ code: "attic", name: "Attic", priority: 1 });
    const { location } = await stock.updateLocation({ code: "attic", priority: 2, expectedVersion: 1 });
    expect(location).toMatchObject({ code: "attic", name: "Attic", priority: 2, version: 2 });
    const { locations } = await stock.listLocations({});
    expect(locations.map(({ code }) => code)).toEqual(["main", "berlin", "attic"]);
  });

  test("a new order changes where the next order takes from", async () => {
    await stock.createLocation({ code: "first", name: "First", priority: 5 });
    const sku = await stocked(stock, { main: 3n, first: 3n });
    await stock.updateLocation({ code: "main", priority: 6 });
    const { reservation } = await orders.reserveStock(hold([[sku, 2n]]));
    await stock.updateLocation({ code: "main", priority: 0 });
    expect(reservation?.lines.map(({ location }) => location)).toEqual(["first"]);
  });

  test("are refused where the code is taken, unknown, malformed, or the version stale", async () => {
    expect(await refused(stock.createLocation({ code: "main", name: "Other" }))).toEqual({
      kind: "already_exists",
      reason: "LOCATION_TAKEN",
    });
    expect((await refused(stock.updateLocation({ code: "nowhere", name: "X" }))).reason).toBe("NOT_FOUND");
    const stale = stock.updateLocation({ code: "berlin", name: "B", expectedVersion: 9 });
    expect(await refused(stale)).toMatchObject({ reason: "VERSION_MISMATCH", metadata: { current_version: "1" } });
    expect((await refused(stock.createLocation({ code: "Main!", name: "" }))).fields?.sort()).toEqual(["code", "name"]);
  });
});

test("who may neither read nor write stock does neither", async () => {
  const sku = await stocked(stock, 1n);
  const customer = role.client(InventoryService, { subject: { kind: "user", id: newId(), permissions: [] } });
  const calls = [
    customer.adjustStock({ sku, delta: 1n }),
    customer.updateStockPolicy({ sku, tracked: false }),
    customer.transferStock({ sku, fromLocation: "main", toLocation: "berlin", quantity: 1n }),
    customer.createLocation({ code: "mine", name: "Mine" }),
    customer.updateLocation({ code: "main", name: "Mine" }),
    customer.batchGetStock({ skus: [sku] }),
    customer.listStock({}),
    customer.listMovements({}),
    customer.listLocations({}),
    ...[customer.watchStock({ skus: [sku] })].map((stream) => next(stream[Symbol.asyncIterator]())),
  ];
  for (const call of calls) expect((await refusal(call)).reason).toBe("ACCESS_DENIED");
});

describe("events", () => {
  async function announced(sku: string) {
    const { id } = await db().selectFrom("stock_items").select("id").where("sku", "=", sku).executeTakeFirstOrThrow();
    const events = await eventsOf(role.database<never>(), InventoryEventSchema, id);
    return events.map(({ type, event }) => {
      const { stock: item } = (event as { readonly value: { readonly stock?: StockItem } }).value;
      return [type, item?.available];
    });
  }

  test("tell once when a SKU gets low, depleted, and comes back", async () => {
    const sku = await stocked(stock, 10n);
    await stock.updateStockPolicy({ sku, lowStockThreshold: 5n });
    expect(await announced(sku)).toEqual([]);
    const requests = [hold([[sku, 6n]]), hold([[sku, 1n]]), hold([[sku, 3n]])];
    for (const request of requests) await orders.reserveStock(request);
    for (const request of requests) await orders.commitReservation(request);
    await stock.adjustStock({ sku, delta: 1n });
    await stock.adjustStock({ sku, delta: 4n });
    expect(await announced(sku)).toEqual([
      ["inventory.stock_low", 4n],
      ["inventory.stock_depleted", 0n],
      ["inventory.stock_low", 1n],
      ["inventory.stock_replenished", 5n],
    ]);
  });

  test("tell of another policy, and of nothing that was refused", async () => {
    const sku = await stocked(stock, 2n);
    await stock.updateStockPolicy({ sku, lowStockThreshold: 3n });
    await stock.updateStockPolicy({ sku, tracked: false });
    await refusal(stock.adjustStock({ sku, delta: -3n }));
    expect(await announced(sku)).toEqual([
      ["inventory.stock_low", 2n],
      ["inventory.stock_replenished", 2n],
    ]);
  });
});

test("movements are never changed", async () => {
  const sku = await stocked(stock, 2n);
  const tampering = [
    sql`update stock_movements set delta = 3 where sku = ${sku}`,
    sql`delete from stock_movements where sku = ${sku}`,
    sql`truncate stock_movements`,
  ];
  for (const statement of tampering) {
    await expect(statement.execute(db())).rejects.toSatisfy((error) => codeOf(error) === "42501");
  }
});

test("the database itself refuses what the rules should have", async () => {
  const sku = await stocked(stock, 2n);
  const oversold = sql`update stock_levels set reserved = 3 where sku = ${sku}`.execute(db());
  await expect(oversold).rejects.toMatchObject({ constraint: "stock_levels_reserved_check" });
});

describe("WatchStock", () => {
  const watch = (client: Inventory, skus: string[], signal?: AbortSignal) =>
    client.watchStock({ skus }, signal && { signal })[Symbol.asyncIterator]();

  test("answers what there is, then each change, of its SKUs only", async () => {
    const [sku, none, other] = [await stocked(stock, 5n), someSku(), await stocked(stock, 1n)];
    const ended = new AbortController();
    const stream = watch(stock, [sku, none, sku], ended.signal);
    expect((await next(stream)).stock).toMatchObject({ sku, onHand: 5n, version: 2n });
    expect((await next(stream)).stock).toMatchObject({ sku: none, onHand: 0n, version: 0n, tracked: true });
    await stocked(stock, 1n, other);
    await stock.adjustStock({ sku, delta: 2n });
    expect((await next(stream)).stock).toMatchObject({ sku, onHand: 7n, version: 3n });
    await stocked(stock, 3n, none);
    expect((await next(stream)).stock).toMatchObject({ sku: none, onHand: 3n });
    ended.abort();
    expect((await refusal(next(stream))).kind).toBe("canceled");
  });

  test("hears of what another instance changed", async () => {
    const sku = await stocked(stock, 5n);
    const stream = watch(stockOf(await role.replica()), [sku]);
    await next(stream);
    await stock.adjustStock({ sku, delta: 2n });
    expect((await next(stream)).stock).toMatchObject({ onHand: 7n });
    await stream.return?.();
  });
});

test("a watch ends when the process stops", async () => {
  await using own = await startTestRole("inventory", inventoryRole);
  const stream = stockOf(own)
    .watchStock({ skus: [someSku()] })
    [Symbol.asyncIterator]();
  await next(stream);
  own.stop();
  expect(await stream.next()).toMatchObject({ done: true });
});

async function next(stream: AsyncIterator<WatchStockResponse>): Promise<WatchStockResponse> {
  const { value } = (await stream.next()) as IteratorYieldResult<WatchStockResponse>;
  return present(value);
}

test("samples put every SKU of the catalogue into stock that is not known, once", async () => {
  await stocked(stock, 3n, "MUG-BLACK");
  for (let run = 0; run < 2; run += 1) await role.running.addSamples?.();
  expect(await unitsOf(stock, "MUG-WHITE")).toEqual([100n, 0n, 100n]);
  expect(await unitsOf(stock, "MUG-BLACK")).toEqual([3n, 0n, 3n]);
  expect(await unitsOf(stock, "TEE-S")).toEqual([100n, 0n, 100n]);
  const { movements } = await stock.listMovements({ sku: "TEE-S" });
  expect(movements).toMatchObject([{ kind: MovementKind.RECEIPT, delta: 100n, onHand: 100n, reason: "opening stock" }]);
});
