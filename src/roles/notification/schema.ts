import type { ColumnType } from "kysely";
import type { WithIdempotencyKeys } from "../../platform/idempotency.ts";
import type { Channel, DeliveryState, MailParameters, Template, Topic } from "./delivery.ts";

export interface Deliveries {
  /** UUIDv7; the Message-ID of a mail is made of it. */
  id: string;
  event_id: string;
  user_id: string;
  channel: Channel;
  topic: Topic;
  template: Template;
  parameters: ColumnType<MailParameters, string, never>;
  state: DeliveryState;
  /** The address that it last went to; empty before the first attempt. */
  recipient: string;
  /** Counted when they begin: one that a crash ends counts too. */
  attempts: number;
  /** Why the last attempt failed, or why it is suppressed; empty else. */
  error: string;
  created_at: Date;
  /** When nobody wants it any more. */
  expires_at: Date;
  next_attempt_at: Date | null;
  /** Of the attempt under way. */
  lease_token: string | null;
  /** When another process may begin the next attempt, whatever became of this one. */
  lease_until: Date | null;
  /** When it was sent, failed or was suppressed. */
  settled_at: Date | null;
}

export interface Preferences {
  user_id: string;
  topic: Topic;
  channel: Channel;
  enabled: boolean;
  updated_at: Date;
}

export interface Mailbox {
  /** Of the delivery. */
  id: string;
  message_id: string;
  sender: string;
  recipient: string;
  subject: string;
  html: string;
  /** The text part. */
  body: string;
  headers: ColumnType<Readonly<Record<string, string>>, string, never>;
  created_at: Date;
}

export interface NotificationTables extends WithIdempotencyKeys {
  deliveries: Deliveries;
  preferences: Preferences;
  mailbox: Mailbox;
}
