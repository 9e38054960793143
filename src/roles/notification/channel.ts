import type { Channel } from "./delivery.ts";

/** Somebody as a message is addressed. */
export interface Addressee {
  /** As the channel needs it: an email address, a number, the token of an app. */
  readonly address: string;
  /** One line; may be empty. */
  readonly name: string;
}

/** A message that is ready to be sent. A channel takes of it what it can carry. */
export interface Message {
  /** Of the delivery: the same in each attempt. */
  readonly id: string;
  readonly to: Addressee;
  readonly subject: string;
  /** The whole of it in plain text. */
  readonly text: string;
  readonly html: string;
  /** Where the user says, without logging in, that no more of this topic is wanted; undefined where that cannot be. */
  readonly unsubscribeUrl: string | undefined;
}

/** Thrown where another attempt would end in the same way: this recipient, or this message, is refused for good. */
export class Refused extends Error {
  override readonly name = "Refused";
}

/** What brings messages to users by one channel; an SMS gateway or a push service is another of these. */
export interface ChannelProvider {
  readonly channel: Channel;
  /**
   * Resolves when the provider has taken the message over. It may get the same one again: an answer may be lost.
   * @throws Refused; anything else is tried again later. What it says is stored and shown, so it holds no secret.
   */
  send(message: Message, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}
