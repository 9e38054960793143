import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { EventEnvelopeSchema } from "#gen/commerce/common/v1/event_pb.ts";
import { newId } from "../id.ts";
import type { BusMessage } from "./bus.ts";
import type { ReceivedEvent } from "./declaration.ts";

/** An event as its row in the outbox. */
export interface OutboxEvent {
  readonly id: string;
  readonly partition: number;
  readonly aggregate_id: string;
  readonly sequence: bigint;
  readonly type: string;
  readonly version: number;
  readonly payload: Buffer;
  readonly traceparent: string;
  readonly occurred_at: Date;
  /** Consumers that never got the event before it. */
  readonly first_for: readonly string[];
}

/** An event as it came over the bus. */
export interface ArrivedEvent extends ReceivedEvent {
  readonly topic: string;
  readonly version: number;
  readonly payload: Uint8Array;
  readonly traceparent: string;
  readonly firstFor: readonly string[];
}

/**
 * What the bus is to carry. One that says for whom it is the first is a message of its own: a queue may have it without
 * that, and would drop it as known.
 */
export function toBusMessage(topic: string, event: OutboxEvent): BusMessage {
  const { id, type, version, payload, traceparent } = event;
  const envelope = create(EventEnvelopeSchema, {
    id,
    topic,
    type,
    aggregateId: event.aggregate_id,
    sequence: event.sequence,
    version,
    payload,
    traceparent,
    occurredAt: timestampFromDate(event.occurred_at),
    firstFor: [...event.first_for],
  });
  return {
    id: event.first_for.length > 0 ? newId() : id,
    topic,
    key: event.aggregate_id,
    body: toBinary(EventEnvelopeSchema, envelope),
  };
}

const UUID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/;
const NAME = /^[\w.-]{1,200}$/;

/** Undefined for bytes that are no envelope, or one that cannot be stored. */
export function parseEnvelope(body: Uint8Array): ArrivedEvent | undefined {
  const envelope = decode(body);
  if (!envelope?.occurredAt) return undefined;
  const { id, topic, type, aggregateId, sequence, version, payload, traceparent, firstFor } = envelope;
  const occurredAt = timestampDate(envelope.occurredAt);
  const isWhole =
    UUID.test(id) && UUID.test(aggregateId) && NAME.test(topic) && NAME.test(type) && sequence > 0n && version > 0;
  // What Postgres does not store would fail all events that arrive with it.
  if (!isWhole || traceparent.includes("\0") || !(occurredAt.getTime() >= 0)) return undefined;
  return { id, topic, type, aggregateId, sequence, version, payload, traceparent, occurredAt, firstFor };
}

function decode(body: Uint8Array) {
  try {
    return fromBinary(EventEnvelopeSchema, body);
  } catch {
    return undefined;
  }
}
