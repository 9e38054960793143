import { Client } from "pg";
import { expect, test } from "vitest";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import { clientsOf, protocols, refusalOf } from "../support/protocols.ts";
import { addGoods } from "./load.ts";

/** A watch that resumes may get its first answer after hours: it must not be what tells that a role is back. */
test("a role that comes back is there for all, though a watch is the first to come", async () => {
  await using shop = await startInstallation("a process per role");
  const clients = clientsOf(protocols.gRPC(shop.url));
  const { userId } = await addGoods(clients);
  const { order } = await clients.orders.createOrder({ userId, items: [{ sku: "MUG", quantity: 1 }] });
  const id = order?.id ?? "";
  shop.processes["order"]?.kill("SIGTERM");
  await shop.processes["order"]?.exited;
  // More than open the breaker.
  for (let failed = 0; failed < 10; failed += 1) {
    expect(await refusalOf(clients.orders.getOrder({ id }))).toEqual({ code: "Unavailable", reason: "PEER_DOWN" });
  }

  const leave = new AbortController();
  const watch = async () => {
    for await (const _ of clients.orders.watchOrder({ id, afterPosition: 1n }, { signal: leave.signal }));
  };
  const watching = (async () => {
    while (!leave.signal.aborted) await watch().catch(() => undefined);
  })();
  await shop.start("order");
  await until(() => isListenedTo(shop));
  const again = await clients.orders.getOrder({ id }, { timeoutMs: 5_000 });
  expect(again.order?.id).toBe(id);
  leave.abort();
  await watching;
});

/** The connection for notifications opens with the first watch. */
async function isListenedTo(shop: Installation): Promise<boolean> {
  const client = new Client({ connectionString: shop.databases["order"]?.url ?? "" });
  await client.connect();
  try {
    const { rows } = await client.query(
      `select 1 from pg_stat_activity
       where datname = current_database() and application_name = 'commerce-order-listen'`,
    );
    return rows.length > 0;
  } finally {
    await client.end();
  }
}
