import type { DescField, Message, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { GenMessage } from "@bufbuild/protobuf/codegenv2";
import type { Transaction } from "kysely";

/** The shape of `commerce.<role>.v1.<Role>Event`: one oneof `event`, a field per type of event. */
export type EventMessage = Message & {
  readonly event: { readonly case: string; readonly value: Message } | { readonly case: undefined };
};

export type EventSchema = GenMessage<EventMessage>;

/** One event with its value: `{ case: "created", value: { user } }`. */
export type EventInit<S extends EventSchema> = Exclude<
  MessageInitShape<S> extends { event?: infer E } ? E : never,
  undefined | { case: undefined; value?: undefined }
>;

/** The names of the events of a schema, as in its oneof. */
export type EventCase<S extends EventSchema> = Exclude<MessageShape<S>["event"]["case"], undefined>;

type EventValue<S extends EventSchema, C> =
  Extract<MessageShape<S>["event"], { case: C }> extends { value: infer V } ? V : never;

/** Which events of another role a role consumes. */
export interface Consumption<S extends EventSchema = EventSchema, C extends string = string> {
  readonly schema: S;
  /** The highest version of the schema that this build knows. */
  readonly version: number;
  readonly cases: readonly C[];
}

/** What a role emits and consumes: the `events` of its line in the registry. */
export interface EventsDeclaration {
  /** Its own events, with the version of their schema. */
  readonly emits?: { readonly schema: EventSchema; readonly version: number };
  readonly consumes?: readonly Consumption[];
}

/** Declares the events of another role that a role consumes, by their names in the schema's oneof. */
export function consumption<S extends EventSchema, const C extends EventCase<S>>(
  schema: S,
  version: number,
  cases: readonly C[],
): Consumption<S, C> {
  return { schema, version, cases };
}

/** What is known of an event beside its value. */
export interface ReceivedEvent {
  /** UUIDv7. */
  readonly id: string;
  /** For example `user.created`. */
  readonly type: string;
  readonly aggregateId: string;
  readonly sequence: bigint;
  readonly occurredAt: Date;
}

/** A consumption together with what is done for each event. */
export interface Consumer {
  readonly consumption: Consumption;
  /**
   * Applies one event in the transaction that remembers it. What it throws is tried again, and given up in the end; so
   * it touches nothing but the transaction.
   */
  apply(trx: Transaction<never>, event: ReceivedEvent, message: EventMessage): Promise<void>;
}

type EventHandlers<S extends EventSchema, C extends string, Tables> = {
  readonly [K in C]: (trx: Transaction<Tables>, value: EventValue<S, K>, event: ReceivedEvent) => Promise<void>;
};

/** Joins a consumption with its handlers, one for each case, checked by the compiler. */
export function on<S extends EventSchema, C extends string, Tables>(
  consumed: Consumption<S, C>,
  handlers: EventHandlers<S, C, Tables>,
): Consumer {
  const byCase = handlers as Readonly<Record<string, EventHandlers<S, string, Tables>[string] | undefined>>;
  return {
    consumption: consumed,
    async apply(trx, event, { event: happened }) {
      if (happened.case === undefined) return;
      const handle = Object.hasOwn(byCase, happened.case) ? byCase[happened.case] : undefined;
      await handle?.(trx as unknown as Transaction<Tables>, happened.value as never, event);
    },
  };
}

/** The role whose events a schema describes: the second part of its package. */
export function topicOf(schema: EventSchema): string {
  const topic = schema.typeName.split(".")[1];
  if (topic === undefined) throw new TypeError(`${schema.typeName} is not of a package commerce.<role>.v1`);
  return topic;
}

/** The type of an event, by the field of the oneof: `user.password_changed`. */
export function typeOf(schema: EventSchema, field: Pick<DescField, "name">): string {
  return `${topicOf(schema)}.${field.name}`;
}

/** The fields of a schema's oneof, in the order of the proto. */
export function eventFields(schema: EventSchema): readonly DescField[] {
  const oneof = schema.oneofs.find(({ name }) => name === "event");
  if (!oneof) throw new TypeError(`${schema.typeName} has no oneof "event"`);
  return oneof.fields;
}
