import type { Kysely } from "kysely";
import { sql } from "kysely";
import type { StockItem } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { InventoryService } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { newId } from "../../src/platform/id.ts";
import type { StockContext } from "../../src/roles/inventory/change-stock.ts";
import type { InventoryTables } from "../../src/roles/inventory/schema.ts";
import { createStockChanges } from "../../src/roles/inventory/stock-changes.ts";
import type { TestRole } from "../support/role.ts";
import { present } from "../support/role.ts";

/** The role as people see it who look after the stock. */
export const stockOf = (of: Pick<TestRole, "client">) => of.client(InventoryService);
/** The role as the order role sees it. */
export const holdsOf = (of: Pick<TestRole, "client">) => of.client(InventoryService, { role: "order" });

export type Inventory = ReturnType<typeof stockOf>;

let count = 0;
/** A SKU of the test's own. */
export const someSku = () => `SKU-${String((count += 1)).padStart(4, "0")}`;

export type Lines = readonly (readonly [sku: string, quantity: bigint])[];

/** What ReserveStock takes. */
export function hold(lines: Lines, orderId = newId(), holdSeconds = 600) {
  return { orderId, holdSeconds, lines: lines.map(([sku, quantity]) => ({ sku, quantity })) };
}

/** The name of an enum's value. */
export function nameOf(values: Readonly<Record<string, number>>, value: number): string {
  return Object.keys(values).find((name) => values[name] === value) ?? String(value);
}

/** Makes a SKU with so many units at locations; one number is what `main` has. */
export async function stocked(
  stock: Inventory,
  units: bigint | Readonly<Record<string, bigint>>,
  sku = someSku(),
): Promise<string> {
  const levels = typeof units === "bigint" ? { main: units } : units;
  for (const [location, delta] of Object.entries(levels)) await stock.adjustStock({ sku, location, delta });
  return sku;
}

export async function read(stock: Inventory, sku: string): Promise<StockItem> {
  return present((await stock.batchGetStock({ skus: [sku] })).stock[0]);
}

/** Units of a SKU: on hand, reserved, available. */
export async function unitsOf(stock: Inventory, sku: string): Promise<[bigint, bigint, bigint]> {
  const { onHand, reserved, available } = await read(stock, sku);
  return [onHand, reserved, available];
}

/** Makes holds end now, as if their time were over. */
export async function makeDue(db: Kysely<InventoryTables>, orderIds: readonly string[]): Promise<void> {
  await sql`
    update reservations set expires_at = now() - interval '1 second' where order_id = any (${orderIds}::uuid[])
  `.execute(db);
}

/** What a sweeper of the test's own stands on; its changes are told to nobody. */
export function sweeping(role: TestRole): StockContext {
  const announce = { alert: () => Promise.resolve() };
  return { db: role.database<InventoryTables>(), clock: role.clock, announce, changes: createStockChanges() };
}

/**
 * What breaks I1 or I2 of correctness.md, by one snapshot: levels that are not what reservations and movements say,
 * orders that took other units than their reservation says, movements that do not add up.
 */
export async function violations(db: Kysely<InventoryTables>): Promise<string[]> {
  const { rows } = await sql<{ what: string }>`
    with held as (
      select sku, location, sum(quantity) as units from reservation_lines join reservations using (order_id)
      where state = 'HELD' and tracked group by sku, location
    ),
    moved as (
      select sku, location, sum(delta) as units from stock_movements group by sku, location
    ),
    taken as (
      select order_id, sku, location, sum(quantity - returned) as units
      from reservation_lines join reservations using (order_id)
      where state = 'COMMITTED' and tracked group by order_id, sku, location
    ),
    sold as (
      select order_id, sku, location, -sum(delta) as units from stock_movements
      where order_id is not null group by order_id, sku, location
    )
    select format('%s at %s: %s on hand, %s reserved, limit %s', sku, location, on_hand, reserved, backorder_limit) as what
    from stock_levels where not (0 <= reserved and reserved <= on_hand + backorder_limit)
    union all
    select format('%s at %s: %s reserved, %s held', sku, location, l.reserved, held.units)
    from stock_levels l full join held using (sku, location) where coalesce(l.reserved, 0) <> coalesce(held.units, 0)
    union all
    select format('%s at %s: %s on hand, %s by movements', sku, location, l.on_hand, moved.units)
    from stock_levels l full join moved using (sku, location) where coalesce(l.on_hand, 0) <> coalesce(moved.units, 0)
    union all
    select format('%s of %s at %s: %s taken, %s sold', order_id, sku, location, taken.units, sold.units)
    from taken full join sold using (order_id, sku, location) where coalesce(taken.units, 0) <> coalesce(sold.units, 0)
    union all
    select format('movement %s: %s on hand after it, not %s', id, on_hand, running) from (
      select *, sum(delta) over (partition by sku, location order by position) as running from stock_movements
    ) m where on_hand <> running
  `.execute(db);
  return rows.map(({ what }) => what);
}

/** Whether the alert of each item is that of its levels. */
export async function wrongAlerts(db: Kysely<InventoryTables>): Promise<string[]> {
  const { rows } = await sql<{ what: string }>`
    select format('%s: %s with %s of %s', sku, alert, available, low_stock_threshold) as what
    from stock_items join lateral (
      select coalesce(sum(on_hand + backorder_limit - reserved), 0) as available from stock_levels l
      where l.sku = stock_items.sku
    ) on true
    where alert <> case when not tracked then 'NONE' when available <= 0 then 'DEPLETED'
      when available < low_stock_threshold then 'LOW' else 'NONE' end
  `.execute(db);
  return rows.map(({ what }) => what);
}

/** Connections of a role's pool. */
const POOL_SIZE = 10;

/** How often transactions stopped each other so far: the role tries again then, so that no call shows it. */
export async function deadlocks(db: Kysely<InventoryTables>): Promise<bigint> {
  const allHeld = Promise.withResolvers<undefined>();
  let held = 0;
  // Every connection keeps its own count until it is told to hand it in.
  const handIn = () =>
    db.connection().execute(async (connection) => {
      held += 1;
      if (held === POOL_SIZE) allHeld.resolve(undefined);
      await allHeld.promise;
      await sql`select pg_stat_force_next_flush()`.execute(connection);
    });
  await Promise.all(Array.from({ length: POOL_SIZE }, handIn));
  const { rows } = await sql<{ deadlocks: bigint }>`
    select deadlocks from pg_stat_database where datname = current_database()
  `.execute(db);
  return present(rows[0]).deadlocks;
}

/** @throws Error that names whatever is broken */
export async function checkStock(db: Kysely<InventoryTables>): Promise<void> {
  const broken = [...(await violations(db)), ...(await wrongAlerts(db))];
  if (broken.length > 0) throw new Error(broken.join("\n"));
}

/** Runs work while the invariants are looked at again and again; answers its result and what was ever broken. */
export async function watched<T>(
  db: Kysely<InventoryTables>,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly broken: string[] }> {
  const broken = new Set<string>();
  let isDone = false;
  const look = async () => {
    for (const what of await violations(db)) broken.add(what);
  };
  const looking = (async () => {
    while (!isDone) await look();
  })();
  try {
    const result = await work();
    isDone = true;
    await looking;
    await look();
    return { result, broken: [...broken] };
  } finally {
    isDone = true;
    await looking.catch(() => undefined);
  }
}
