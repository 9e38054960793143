import { newId } from "../../src/platform/id.ts";
import type { Job } from "./loops.ts";
import { openClients, send, sqlJob } from "./pg-clients.ts";

export interface StockSqlOptions {
  /** Of a database with the inventory role's schema, in which nothing else runs. */
  readonly url: string;
  readonly clients: number;
  readonly sku: string;
}

/** Holds one unit of one SKU in a transaction of its own: hold, lock, levels, and one statement that writes the rest. */
export async function reserveTransactionJob({ url, clients, sku }: StockSqlOptions): Promise<Job> {
  return sqlJob(await openClients(url, clients, false), async (client) => {
    const id = newId();
    await client.query("begin");
    await send(
      client,
      "hold",
      `insert into reservations (order_id, state, expires_at, created_at, updated_at)
       values ($1, 'HELD', clock_timestamp() + interval '35 minutes', now(), now())
       on conflict (order_id) do nothing returning expires_at`,
      [id],
    );
    await send(client, "lock", "select sku, version, alert from stock_items where sku = $1 for update", [sku]);
    await send(client, "levels", "select location, on_hand, reserved from stock_levels where sku = $1", [sku]);
    const { rowCount } = await send(
      client,
      "write",
      `with moved as (
         update stock_levels set reserved = reserved + 1 where sku = $2 and location = 'main'
       ), bumped as (
         update stock_items set version = version + 1, updated_at = now() where sku = $2
       )
       insert into reservation_lines (order_id, sku, location, quantity, tracked) values ($1, $2, 'main', 1, true)`,
      [id, sku],
    );
    await client.query("commit");
    return rowCount ?? 0;
  });
}
