import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Kysely } from "kysely";
import { pino } from "pino";
import type { EventEnvelope } from "#gen/commerce/common/v1/event_pb.ts";
import { EventEnvelopeSchema } from "#gen/commerce/common/v1/event_pb.ts";
import { UserEventSchema } from "#gen/commerce/user/v1/events_pb.ts";
import { openDatabase, transaction } from "../../src/platform/database.ts";
import type { Outbox } from "../../src/platform/events/outbox.ts";
import { createOutbox } from "../../src/platform/events/outbox.ts";
import { newId } from "../../src/platform/id.ts";
import type { Logger } from "../../src/platform/logger.ts";
import { createTestDatabase } from "./postgres.ts";

export const silent = pino({ level: "silent" });

/** A test's own database of a role, with as many connections as it wants. */
export interface OpenDatabase extends AsyncDisposable {
  readonly db: Kysely<unknown>;
  readonly url: string;
  /** Another pool on it, as another process has; ended with this one. */
  again(): Kysely<unknown>;
}

export async function openTestDatabase(role: string): Promise<OpenDatabase> {
  const { url, drop } = await createTestDatabase(role);
  const pools = [openDatabase<unknown>({ url, role, log: silent })];
  const [first] = pools;
  if (!first) throw new Error("there is no pool");
  return {
    db: first.db,
    url,
    again() {
      const pool = openDatabase<unknown>({ url, role, log: silent });
      pools.push(pool);
      return pool.db;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(pools.map((pool) => pool.close()));
      await drop();
    },
  };
}

export type UserOutbox = Outbox<typeof UserEventSchema>;

/** @param relay what to wake */
export function openOutbox(relay?: { wake(): void }): UserOutbox {
  return createOutbox({ schema: UserEventSchema, version: 1, wake: () => relay?.wake() });
}

/** Emits events of one user, each in a transaction of its own. */
export async function emit(db: Kysely<unknown>, outbox: UserOutbox, userId: string, count = 1): Promise<void> {
  for (let done = 0; done < count; done += 1) {
    await transaction(db, (trx) => outbox.emit(trx, userId, passwordChanged(userId), new Date()));
  }
}

export function passwordChanged(userId: string) {
  return { case: "passwordChanged", value: { userId } } as const;
}

/** An aggregate in a given partition. */
export function newIdIn(partition: number): string {
  return `${newId().slice(0, -1)}${partition.toString(16)}`;
}

export interface EnvelopeOptions {
  readonly id?: string;
  readonly type?: string;
  readonly topic?: string;
  readonly version?: number;
  readonly payload?: Uint8Array;
  readonly traceparent?: string;
  readonly firstFor?: readonly string[];
  readonly occurredAt?: { readonly seconds: bigint; readonly nanos: number };
}

/** An event as the bus would bring it. */
export function envelope(aggregateId: string, sequence: number, options: EnvelopeOptions = {}): Uint8Array {
  const event = create(UserEventSchema, { event: passwordChanged(aggregateId) });
  return toBinary(
    EventEnvelopeSchema,
    create(EventEnvelopeSchema, {
      id: newId(),
      topic: "user",
      type: "user.password_changed",
      aggregateId,
      sequence: BigInt(sequence),
      version: 1,
      payload: toBinary(UserEventSchema, event),
      occurredAt: timestampFromDate(new Date()),
      ...options,
      firstFor: [...(options.firstFor ?? [])],
    }),
  );
}

export function openEnvelope(body: Uint8Array): EventEnvelope {
  return fromBinary(EventEnvelopeSchema, body);
}

/** A logger whose lines can be looked at. */
export function recordingLog(): { readonly log: Logger; readonly lines: readonly Readonly<Record<string, unknown>>[] } {
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: "debug" }, { write: (line: string) => lines.push(JSON.parse(line) as never) });
  return { log, lines };
}
