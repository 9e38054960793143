import type { MessageInitShape } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import type { RawBuilder, Transaction } from "kysely";
import { sql } from "kysely";
import { afterCommit } from "../database.ts";
import { newId } from "../id.ts";
import { currentTraceparent } from "../trace.ts";
import type { EventInit, EventSchema } from "./declaration.ts";
import { eventFields, typeOf } from "./declaration.ts";

/** How many parts the aggregates of a role are divided into, which replicas of its relay share. */
export const PARTITIONS = 16;

/** Where a role writes its events, in the transaction of the change that they tell of. */
export interface Outbox<S extends EventSchema> {
  /**
   * Writes an event in a transaction of `transaction()`; after its commit the relay is woken. From then on to the commit
   * other emitters of this aggregate wait: emit late in a transaction.
   */
  emit<DB>(trx: Transaction<DB>, aggregateId: string, event: EventInit<S>, now: Date): Promise<void>;
  /**
   * The first event of a new aggregate as parts `outbox_numbered as (…), outbox_written as (…)` of the statement that
   * inserts the aggregate, for where `condition` holds. The caller wakes the relay when that is committed.
   *
   * @example
   * with recorded as (insert … returning id), ${outbox.first(id, event, now, sql`exists (select from recorded)`)}
   */
  first(aggregateId: string, event: EventInit<S>, now: Date, condition: RawBuilder<unknown>): RawBuilder<unknown>;
  /** Has the relay look at once. */
  wake(): void;
}

export interface OutboxOptions<S extends EventSchema> {
  readonly schema: S;
  /** Of the schema. */
  readonly version: number;
  readonly wake: () => void;
}

export function createOutbox<S extends EventSchema>({ schema, version, wake }: OutboxOptions<S>): Outbox<S> {
  const types = new Map(eventFields(schema).map((field) => [field.localName, typeOf(schema, field)]));

  /** The row of an event whose number the statement's part `outbox_numbered` answers. */
  function written(aggregateId: string, event: EventInit<S>, now: Date): RawBuilder<unknown> {
    const name = (event as { readonly case: string }).case;
    const type = types.get(name);
    if (type === undefined) throw new TypeError(`${schema.typeName} has no event ${name}`);
    const payload = toBinary(schema, create(schema, { event } as unknown as MessageInitShape<S>));
    return sql`
      insert into outbox (
        id, partition, aggregate_id, sequence, type, version, payload, traceparent, occurred_at
      )
      select ${newId()}::uuid, ${partitionOf(aggregateId)}::smallint, ${aggregateId}::uuid, last, ${type}::text,
        ${version}::int, ${Buffer.from(payload)}::bytea, ${currentTraceparent()}::text, ${now}::timestamptz
      from outbox_numbered
    `;
  }

  return {
    async emit(trx, aggregateId, event, now) {
      afterCommit(trx, wake);
      await sql`
        with outbox_numbered as (
          insert into outbox_sequences (aggregate_id, last) values (${aggregateId}::uuid, 1)
          on conflict (aggregate_id) do update set last = outbox_sequences.last + 1
          returning last
        )
        ${written(aggregateId, event, now)}
      `.execute(trx);
    },
    first: (aggregateId, event, now, condition) => sql`
      outbox_numbered as (
        insert into outbox_sequences (aggregate_id, last) select ${aggregateId}::uuid, 1 where ${condition}
        returning last
      ),
      outbox_written as (${written(aggregateId, event, now)})
    `,
    wake,
  };
}

/** By the last digit, which in a UUIDv7 is random. */
export function partitionOf(aggregateId: string): number {
  return Number.parseInt(aggregateId.slice(-1), PARTITIONS);
}
