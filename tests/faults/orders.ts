import { Client } from "pg";
import type { Load } from "./load.ts";

/**
 * The orders and keys in the database against those acknowledged: each exactly once, and no other. Holds once the load
 * has stopped, since it tries every key until it is acknowledged.
 */
export async function unlike(url: string, { acknowledged }: Load): Promise<Record<string, readonly string[]>> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const ids = async (sql: string) => (await client.query<{ id: string }>(sql)).rows.map(({ id }) => id);
    const orders = await ids("select o.id from orders o join order_lines l on l.order_id = o.id");
    const keys = await ids("select key as id from idempotency_keys");
    const wanted = [...acknowledged.values()];
    return {
      lost: minus(wanted, orders),
      "placed twice or unasked": minus(orders, wanted),
      "keys unknown": minus([...acknowledged.keys()], keys),
    };
  } finally {
    await client.end();
  }
}

/** What is in the first more often than in the second. */
function minus(first: readonly string[], second: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const one of second) counts.set(one, (counts.get(one) ?? 0) + 1);
  return first.filter((one) => {
    const count = counts.get(one) ?? 0;
    counts.set(one, count - 1);
    return count <= 0;
  });
}

export const nothingUnlike = { lost: [], "placed twice or unasked": [], "keys unknown": [] };
