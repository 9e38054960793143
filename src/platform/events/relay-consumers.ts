import type { Kysely } from "kysely";
import { sql } from "kysely";
import { transaction } from "../database.ts";
import type { Bus, Group } from "./bus.ts";

/**
 * Seconds that a new consumer's moment lies before the subscription, and by which the database's clock may be set back
 * afterwards: what it got would else count as sent before, and the next event as the first. It gets what went out in
 * this time, too.
 */
const EARLIER_SECONDS = 60;

/**
 * Subscribes the groups on the bus, and records since when each gets the events of this outbox: an event whose
 * predecessor was published before that is the first for it.
 *
 * The moment lies before the subscription and is recorded as not declared, so that a run that breaks off is repeated
 * with the same moment. Once the subscription is there all leases get new tokens: batches under way, which may have been
 * sent before it, are not marked; what was marked since the moment is published again. So each event was either
 * published before the moment, or goes out with the subscription there and recorded.
 */
export async function declareGroups(db: Kysely<unknown>, bus: Bus, groups: readonly Group[]): Promise<void> {
  const names = groups.map(({ name }) => name);
  await sql`
    insert into outbox_consumers (name, since, declared)
    select name, clock_timestamp() - ${EARLIER_SECONDS}::int * interval '1 s', false
    from unnest(${names}::text[]) as name order by name
    on conflict (name) do nothing
  `.execute(db);
  await bus.declare(groups);
  if (await areDeclared(db, names)) return;
  await transaction(db, async (trx) => {
    await sql`select partition from relay_leases order by partition for update`.execute(trx);
    await sql`
      with recorded as (
        update outbox_consumers set declared = true where name = any (${names}::text[]) and not declared
        returning since
      )
      update outbox set published_at = null, published_by = null
      where published_at >= (select min(since) from recorded)
    `.execute(trx);
    await sql`
      update relay_leases set token = token + 1, owner = null, expires_at = '-infinity'
    `.execute(trx);
  });
}

async function areDeclared(db: Kysely<unknown>, names: readonly string[]): Promise<boolean> {
  const { rows } = await sql`
    select from outbox_consumers where name = any (${names}::text[]) and not declared limit 1
  `.execute(db);
  return rows.length === 0;
}
