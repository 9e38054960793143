import { createHmac, timingSafeEqual } from "node:crypto";
import type { Channel, Topic } from "./delivery.ts";
import { CHANNELS, TOPICS, canBeTurnedOff } from "./delivery.ts";

const MAC_BYTES = 16;
const UUID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/;

/** What the link of a mail lets whoever has it say: that this user wants no more of this topic by this channel. */
export interface Unsubscription {
  readonly userId: string;
  readonly topic: Topic;
  readonly channel: Channel;
}

/** It does not expire: an old mail's link must do too. */
export function issueUnsubscribeToken(key: Buffer, { userId, topic, channel }: Unsubscription): string {
  const text = JSON.stringify([userId, topic, channel]);
  return Buffer.concat([macOf(key, text), Buffer.from(text)]).toString("base64url");
}

/** Undefined where it is no token of ours. */
export function parseUnsubscribeToken(key: Buffer, token: string): Unsubscription | undefined {
  const bytes = Buffer.from(token, "base64url");
  const text = bytes.subarray(MAC_BYTES).toString();
  const mac = bytes.subarray(0, MAC_BYTES);
  const isOurs = mac.length === MAC_BYTES && timingSafeEqual(mac, macOf(key, text));
  // The re-encoding refuses what decoding skips.
  if (!isOurs || bytes.toString("base64url") !== token) return undefined;
  const [userId, topic, channel] = JSON.parse(text) as [string, Topic, Channel];
  const isKnown = UUID.test(userId) && TOPICS.includes(topic) && CHANNELS.includes(channel) && canBeTurnedOff(topic);
  return isKnown ? { userId, topic, channel } : undefined;
}

function macOf(key: Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest().subarray(0, MAC_BYTES);
}
