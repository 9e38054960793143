import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type {
  DeliverySchema,
  Preference as PreferenceMessage,
  PreferenceSchema,
} from "#gen/commerce/notification/v1/notification_pb.ts";
import {
  Channel as ChannelMessage,
  DeliveryState as StateMessage,
  Topic as TopicMessage,
} from "#gen/commerce/notification/v1/notification_pb.ts";
import { invalidRequest } from "../../platform/errors.ts";
import type { Channel, DeliveryState, Topic } from "./delivery.ts";
import { canBeTurnedOff } from "./delivery.ts";
import type { Preference } from "./preferences.ts";
import type { DeliveryRow } from "./store.ts";

const channels: Readonly<Record<Channel, ChannelMessage>> = {
  email: ChannelMessage.EMAIL,
  sms: ChannelMessage.SMS,
  push: ChannelMessage.PUSH,
};

const topics: Readonly<Record<Topic, TopicMessage>> = {
  account: TopicMessage.ACCOUNT,
  orders: TopicMessage.ORDERS,
  marketing: TopicMessage.MARKETING,
};

const states: Readonly<Record<DeliveryState, StateMessage>> = {
  pending: StateMessage.PENDING,
  sent: StateMessage.SENT,
  failed: StateMessage.FAILED,
  suppressed: StateMessage.SUPPRESSED,
};

/** What we call a reason ourselves. Anything else is in the words of a server, which name hosts and whatever it likes. */
const OWN_REASON = /^[A-Z_]*$/;

/** @param showsWords whether also the words of a server are shown: to those who run the shop */
export function deliveryToProto(row: DeliveryRow, showsWords: boolean): MessageInitShape<typeof DeliverySchema> {
  return {
    id: row.id,
    userId: row.user_id,
    channel: channels[row.channel],
    topic: topics[row.topic],
    template: row.template,
    state: states[row.state],
    recipient: row.recipient,
    attempts: row.attempts,
    error: showsWords || OWN_REASON.test(row.error) ? row.error : "",
    createdAt: timestampFromDate(row.created_at),
    ...(row.state === "sent" && row.settled_at && { sentAt: timestampFromDate(row.settled_at) }),
    ...(row.next_attempt_at && { nextAttemptAt: timestampFromDate(row.next_attempt_at) }),
    eventId: row.event_id,
  };
}

export function preferenceToProto({ topic, channel, enabled }: Preference): MessageInitShape<typeof PreferenceSchema> {
  return { topic: topics[topic], channel: channels[channel], enabled };
}

/** The states of a filter; the proto's constraints let no others in. */
export function parseStates(wanted: readonly StateMessage[]): DeliveryState[] {
  return keysOf(states).filter((state) => wanted.includes(states[state]));
}

/** @throws AppError INVALID_REQUEST where a topic is to be turned off that is always on */
export function parsePreferences(messages: readonly PreferenceMessage[]): Preference[] {
  const parsed = messages.flatMap(({ topic, channel, enabled }): Preference[] => {
    const known = { topic: keyOf(topics, topic), channel: keyOf(channels, channel) };
    return known.topic && known.channel ? [{ topic: known.topic, channel: known.channel, enabled }] : [];
  });
  const faults = parsed.flatMap(({ topic, enabled }, index) =>
    enabled || canBeTurnedOff(topic)
      ? []
      : [{ field: `preferences[${String(index)}].enabled`, description: "cannot be false: these mails are always on" }],
  );
  if (faults.length > 0) throw invalidRequest(...faults);
  return parsed;
}

function keysOf<K extends string>(map: Readonly<Record<K, unknown>>): K[] {
  return Object.keys(map) as K[];
}

function keyOf<K extends string, V>(map: Readonly<Record<K, V>>, value: V): K | undefined {
  return keysOf(map).find((key) => map[key] === value);
}
