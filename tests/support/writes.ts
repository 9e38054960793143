import { Client } from "pg";
import { until } from "./conditions.ts";
import type { Installation } from "./installation.ts";
import { owners } from "./installation.ts";

/** What is written without any request: leases, and the log of who called what, with what was refused. */
const NOT_OF_REQUESTS = /^(?:gateway\.audit_|\w+\.(?:outbox_leases|inbox_leases|relay_|sagas$|kysely_))/;

/** Rows inserted, changed and deleted, by table, as Postgres itself has counted them. */
export async function writesOf(shop: Installation): Promise<Record<string, string>> {
  const writes: Record<string, string> = {};
  for (const role of owners) {
    const client = new Client({ connectionString: shop.databases[role]?.url ?? "" });
    await client.connect();
    // A connection tells what it counted when it ends; those of the shop come back by themselves.
    const { rows: ended } = await client.query<{ pid: number }>(
      "select pid, pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
    );
    const pids = ended.map(({ pid }) => pid);
    await until(async () => {
      const { rows } = await client.query("select 1 from pg_stat_activity where pid = any($1)", [pids]);
      return rows.length === 0;
    });
    const { rows } = await client.query<{ name: string; writes: string }>(
      "select relname as name, concat_ws(' ', n_tup_ins, n_tup_upd, n_tup_del) as writes from pg_stat_user_tables order by 1",
    );
    for (const { name, writes: count } of rows) {
      if (!NOT_OF_REQUESTS.test(`${role}.${name}`)) writes[`${role}.${name}`] = count;
    }
    await client.end();
  }
  await until(async () => (await fetch(`${shop.url}/readyz`)).ok);
  return writes;
}
