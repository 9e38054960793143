import { setTimeout as delay } from "node:timers/promises";
import type { Kysely } from "kysely";
import type { Call } from "../../platform/call.ts";
import type { InventoryTables } from "./schema.ts";
import type { StockChanges } from "./stock-changes.ts";
import type { StockItem } from "./stock.ts";
import { findStock, findVersions } from "./store-reads.ts";

/** Milliseconds between looks for what other processes changed. */
const POLL_MS = 500;

/** Milliseconds at least between looks: a SKU that changes all the time comes ten times a second. */
const GAP_MS = 100;

export interface WatchContext {
  readonly db: Kysely<InventoryTables>;
  readonly changes: StockChanges;
  /** Aborts when the process begins to stop. */
  readonly stopping: AbortSignal;
}

/**
 * SKUs as they are, then each time that they have changed; one that is not known is answered once, as undefined. Nobody
 * is notified through the database: that would serialise the commits of all reservations.
 */
export async function* watchStock(
  { db, changes, stopping }: WatchContext,
  call: Call,
  skus: ReadonlySet<string>,
): AsyncIterable<{ readonly sku: string; readonly item: StockItem | undefined }> {
  const signal = AbortSignal.any([call.signal, stopping]);
  const seen = new Map<string, bigint>();
  const all = [...skus];
  for (;;) {
    const changed = changes.next(skus, POLL_MS, signal);
    const fresh = seen.size === 0 ? all : await findChanged(db, all, seen, signal);
    if (fresh.length > 0) {
      const items = new Map((await findStock(db, fresh, signal)).map((item) => [item.sku, item]));
      for (const sku of fresh) {
        const item = items.get(sku);
        yield { sku, item };
        seen.set(sku, item?.version ?? 0n);
      }
      await delay(GAP_MS, undefined, { signal }).catch(() => undefined);
    }
    await changed;
    // An abort wakes the waits too; nothing else would end this loop, which nobody reads any more.
    call.signal.throwIfAborted();
    if (stopping.aborted) return;
  }
}

async function findChanged(
  db: Kysely<InventoryTables>,
  skus: readonly string[],
  seen: ReadonlyMap<string, bigint>,
  signal: AbortSignal,
): Promise<string[]> {
  const versions = await findVersions(db, skus, signal);
  return versions.filter(({ sku, version }) => version !== seen.get(sku)).map(({ sku }) => sku);
}
