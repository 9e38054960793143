import type { Channel, Topic } from "./delivery.ts";
import { CHANNELS, TOPICS, canBeTurnedOff, isOnUnlessSaid } from "./delivery.ts";

/** Whether a user wants to be told of a topic by a channel. */
export interface Preference {
  readonly topic: Topic;
  readonly channel: Channel;
  readonly enabled: boolean;
}

/** Every topic with every channel: what the user said, and the shop's own rule for the rest. */
export function completed(said: readonly Preference[]): Preference[] {
  return TOPICS.flatMap((topic) =>
    CHANNELS.map((channel) => {
      const own = canBeTurnedOff(topic)
        ? said.find((one) => one.topic === topic && one.channel === channel)
        : undefined;
      return { topic, channel, enabled: own?.enabled ?? isOnUnlessSaid(topic) };
    }),
  );
}

/** What of a change is to be kept: of two about the same the last, and nothing of what is always on. */
export function lastOfEach(changes: readonly Preference[]): Preference[] {
  const kept = new Map(changes.map((change) => [`${change.topic} ${change.channel}`, change]));
  return [...kept.values()].filter(({ topic }) => canBeTurnedOff(topic));
}
