import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import { UserEventSchema } from "#gen/commerce/user/v1/events_pb.ts";
import type { Consumer, ReceivedEvent } from "../../src/platform/events/declaration.ts";
import { consumption, on } from "../../src/platform/events/declaration.ts";

/** Where consumers of tests write what they did: nothing in it keeps an effect from being there twice. */
export async function createEffects(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table effects (
      position bigint generated always as identity primary key, event_id uuid not null, aggregate_id uuid not null,
      sequence bigint not null, at timestamptz not null default clock_timestamp()
    )
  `.execute(db);
}

export interface Effect {
  readonly event_id: string;
  readonly aggregate_id: string;
  readonly sequence: number;
}

/** In the order in which they were written. */
export async function listEffects(db: Kysely<unknown>): Promise<Effect[]> {
  const { rows } = await sql<Effect>`
    select event_id, aggregate_id, sequence::int as sequence from effects order by position
  `.execute(db);
  return rows;
}

/** The sequences of one aggregate, in the order in which they took effect. */
export async function effectsOf(db: Kysely<unknown>, aggregateId: string): Promise<number[]> {
  return (await listEffects(db)).filter((row) => row.aggregate_id === aggregateId).map(({ sequence }) => sequence);
}

/** Notes the effect of an event. */
export async function noteEffect(trx: Transaction<unknown>, event: ReceivedEvent): Promise<void> {
  await sql`
    insert into effects (event_id, aggregate_id, sequence)
    values (${event.id}::uuid, ${event.aggregateId}::uuid, ${event.sequence}::bigint)
  `.execute(trx);
}

/**
 * Consumes one kind of event of users.
 * @param before what is done before the effect is noted, for example throwing
 */
export function effectConsumer(
  before: (event: ReceivedEvent, trx: Transaction<unknown>) => Promise<void> | void = () => undefined,
  version = 1,
): Consumer {
  return on(consumption(UserEventSchema, version, ["passwordChanged"]), {
    async passwordChanged(trx: Transaction<unknown>, _value, event) {
      await before(event, trx);
      await noteEffect(trx, event);
    },
  });
}
