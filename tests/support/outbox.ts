import { fromBinary } from "@bufbuild/protobuf";
import type { Kysely } from "kysely";
import { sql } from "kysely";
import type { EventMessage, EventSchema } from "../../src/platform/events/declaration.ts";

/** An event as the outbox has it. */
export interface WrittenEvent {
  readonly type: string;
  readonly traceparent: string;
  readonly event: EventMessage["event"];
}

/** The events of an aggregate in their order. @throws Error where their numbers have gaps */
export async function eventsOf(db: Kysely<never>, schema: EventSchema, aggregateId: string): Promise<WrittenEvent[]> {
  const { rows } = await sql<{ type: string; sequence: bigint; traceparent: string; payload: Buffer }>`
    select type, sequence, traceparent, payload from outbox where aggregate_id = ${aggregateId}::uuid order by sequence
  `.execute(db);
  const numbers = rows.map(({ sequence }) => String(sequence)).join();
  if (numbers !== rows.map((_, at) => String(at + 1)).join()) throw new Error(`the numbers are ${numbers}`);
  return rows.map(({ type, traceparent, payload }) => ({
    type,
    traceparent,
    event: fromBinary(schema, payload).event,
  }));
}
