import type { Kysely, Transaction } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import { afterCommit } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import type { StockAnnouncements } from "./events.ts";
import type { InventoryTables } from "./schema.ts";
import type { StockChanges } from "./stock-changes.ts";
import type { LevelChange, MovementKind, StockItem } from "./stock.ts";
import { changed } from "./stock.ts";
import type { Movement, StockWrite } from "./store.ts";
import { writeStock } from "./store.ts";

/** What the use cases of this role stand on. */
export interface StockContext {
  readonly db: Kysely<InventoryTables>;
  readonly clock: Clock;
  readonly announce: StockAnnouncements;
  /** Tells those who watch in this process. */
  readonly changes: StockChanges;
}

/** Why what is on hand changes. */
export interface MovementCause {
  readonly kind: MovementKind;
  readonly reason: string;
  readonly orderId?: string;
  /** The key of the subject. */
  readonly actor: string;
}

export interface StockChange {
  readonly changes: readonly LevelChange[];
  /** Where what is on hand changes. */
  readonly cause?: MovementCause;
  readonly reservation?: StockWrite["reservation"];
}

/**
 * Writes one change of SKUs that are locked: levels, movements, what orders hold, and the events of what can be sold.
 * Answers the SKUs of `changes` as they are after it, and the movements.
 */
export async function changeStock(
  { clock, announce, changes: watchers }: StockContext,
  trx: Transaction<InventoryTables>,
  locked: ReadonlyMap<string, StockItem>,
  { changes, cause, reservation }: StockChange,
): Promise<{ readonly items: StockItem[]; readonly movements: Movement[] }> {
  const now = clock.now();
  const touched = new Set(changes.map(({ sku }) => sku));
  const before = [...locked.values()].filter(({ sku }) => touched.has(sku));
  const items = before.map((item) => changed(item, changes, now));
  const movements = movementsOf(items, changes, cause, now);
  await writeStock(trx, { items, changes, movements, ...(reservation && { reservation }) }, now);
  await announceAlerts(announce, trx, before, items);
  afterCommit(trx, () => {
    watchers.announce(touched);
  });
  return { items, movements };
}

/** Tells what can be sold of the SKUs where that has changed. */
export async function announceAlerts(
  announce: StockAnnouncements,
  trx: Transaction<InventoryTables>,
  before: readonly StockItem[],
  after: readonly StockItem[],
): Promise<void> {
  for (const [at, item] of after.entries()) {
    if (item.alert !== before[at]?.alert) await announce.alert(trx, item);
  }
}

function movementsOf(
  after: readonly StockItem[],
  changes: readonly LevelChange[],
  cause: MovementCause | undefined,
  now: Date,
): Movement[] {
  const levels = new Map(
    after.flatMap(({ sku, levels: of }) => of.map((level) => [keyOf(sku, level.location), level])),
  );
  const moving = changes.filter(({ onHand }) => onHand !== 0n);
  if (moving.length === 0) return [];
  if (!cause) throw new TypeError("what is on hand changes for a reason");
  return moving.map(({ sku, location, onHand: delta }) => ({
    id: newId(),
    orderId: cause.orderId,
    sku,
    location,
    kind: cause.kind,
    delta,
    onHand: levels.get(keyOf(sku, location))?.onHand ?? delta,
    reason: cause.reason,
    actor: cause.actor,
    occurredAt: now,
  }));
}

const keyOf = (sku: string, location: string) => JSON.stringify([sku, location]);
