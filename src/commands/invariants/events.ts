import type { Client } from "pg";
import type { EventsDeclaration } from "../../platform/events/declaration.ts";
import { topicOf } from "../../platform/events/declaration.ts";
import type { Invariant, Violation } from "./check.ts";

/** Events that are looked up at once. */
const BATCH = 5_000;

type Declarations = Readonly<Record<string, EventsDeclaration>>;

/** Each event arrives at each of its consumers, and takes effect there in order. */
export function eventInvariants(declarations: Declarations, lateSeconds: number): readonly Invariant[] {
  const pairs = Object.entries(declarations).flatMap(([consumer, { consumes = [] }]) =>
    consumes.map(({ schema }) => ({ consumer, emitter: topicOf(schema) })),
  );
  const consumers = [...new Set(pairs.map(({ consumer }) => consumer))];
  return [
    {
      invariant: "I10",
      promise: "each event that was published is in the inbox of each of its consumers",
      needs: [],
      async check(databases) {
        let checked = 0;
        const violations: Violation[] = [];
        for (const { consumer, emitter } of pairs) {
          const [from, to] = [databases[emitter], databases[consumer]];
          if (!from || !to) continue;
          for await (const ids of publishedBy(from, consumer, lateSeconds)) {
            checked += ids.length;
            const { rows } = await to.query<{ id: string }>(
              "select id from unnest($1::uuid[]) as id where not exists (select from inbox where inbox.id = id.id)",
              [ids],
            );
            violations.push(
              ...rows.map(({ id }) => ({
                about: `${emitter} event ${id}`,
                problem: `not in the inbox of ${consumer}`,
              })),
            );
          }
        }
        return { checked, violations };
      },
    },
    {
      invariant: "I11",
      promise: "each consumer has applied the events of each aggregate in order, without gaps",
      needs: [],
      async check(databases) {
        let checked = 0;
        const violations: Violation[] = [];
        for (const consumer of consumers) {
          const client = databases[consumer];
          if (!client) continue;
          const { rows: counted } = await client.query<{ count: string }>("select count(*) from inbox");
          checked += Number(counted[0]?.count ?? 0);
          const { rows } = await client.query<Violation>(GAPS);
          violations.push(...rows.map(({ about, problem }) => ({ about: `${consumer}: ${about}`, problem })));
        }
        return { checked, violations };
      },
    },
  ];
}

/** What was done stands before the mark without gaps, what waits behind it. Old rows are forgotten, the first ones first. */
const GAPS = `
  select topic || ' ' || inbox.aggregate_id as about,
    format('applied up to %s; %s kept from %s; %s ahead of it, %s behind it', applied,
      count(*) filter (where state in ('applied', 'skipped')),
      min(sequence) filter (where state in ('applied', 'skipped')),
      count(*) filter (where state in ('applied', 'skipped') and sequence > applied),
      count(*) filter (where state not in ('applied', 'skipped') and sequence <= applied)) as problem
  from inbox join inbox_marks using (topic, aggregate_id)
  group by topic, inbox.aggregate_id, applied
  having count(*) filter (where state in ('applied', 'skipped') and sequence > applied) > 0
    or count(*) filter (where state not in ('applied', 'skipped') and sequence <= applied) > 0
    or count(*) filter (where state in ('applied', 'skipped'))
      <> coalesce(applied - min(sequence) filter (where state in ('applied', 'skipped')) + 1, 0)
  limit 1000`;

/** Events that a consumer must have by now, from when it was subscribed on. */
async function* publishedBy(client: Client, consumer: string, lateSeconds: number): AsyncIterable<readonly string[]> {
  let after = "0";
  for (;;) {
    const { rows } = await client.query<{ id: string; position: string }>(
      `select outbox.id, position from outbox join outbox_consumers on name = $1 and declared
       where position > $2 and published_at > since
         and published_at between clock_timestamp() - interval '6 days' and clock_timestamp() - interval '${String(lateSeconds)} s'
       order by position limit ${String(BATCH)}`,
      [consumer, after],
    );
    if (rows.length === 0) return;
    yield rows.map(({ id }) => id);
    after = rows.at(-1)?.position ?? after;
  }
}
