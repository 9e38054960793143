import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import { pruneInBatches } from "../../platform/keep-pruning.ts";
import { cancelledBy } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import type { Channel, DeliveryState, MailParameters, Template, Topic } from "./delivery.ts";
import type { Deliveries, NotificationTables } from "./schema.ts";

type Db = Kysely<NotificationTables>;

/** Days that deliveries are kept. */
const KEPT_DAYS = 90;

export interface NewDelivery {
  readonly eventId: string;
  readonly userId: string;
  readonly channel: Channel;
  readonly topic: Topic;
  readonly template: Template;
  readonly parameters: MailParameters;
  readonly expiresAt: Date;
}

/** Notes what is to be sent; for one event, channel and template once. Answers whether it is new. */
export async function insertDelivery(trx: Transaction<NotificationTables>, delivery: NewDelivery): Promise<boolean> {
  const inserted = await trx
    .insertInto("deliveries")
    .values({
      id: newId(),
      event_id: delivery.eventId,
      user_id: delivery.userId,
      channel: delivery.channel,
      topic: delivery.topic,
      template: delivery.template,
      parameters: JSON.stringify(delivery.parameters),
      state: "pending",
      recipient: "",
      attempts: 0,
      error: "",
      created_at: sql<Date>`now()`,
      expires_at: delivery.expiresAt,
      next_attempt_at: sql<Date>`now()`,
    })
    .onConflict((conflict) => conflict.constraint("deliveries_event_channel_template_key").doNothing())
    .returning("id")
    .executeTakeFirst();
  return inserted !== undefined;
}

/** A delivery that this process may attempt, until its lease ends. */
export interface LeasedDelivery {
  readonly id: string;
  readonly user_id: string;
  readonly channel: Channel;
  readonly topic: Topic;
  readonly template: Template;
  readonly parameters: MailParameters;
  /** With this one. */
  readonly attempts: number;
  readonly lease_token: string;
  readonly expired: boolean;
}

export interface LeaseWish {
  readonly most: number;
  readonly leaseMs: number;
  /** The deliveries of other channels wait. */
  readonly channels: readonly Channel[];
}

/**
 * Takes due deliveries that nobody attempts, the longest due first. Times are the database's: processes differ.
 *
 * Each channel is looked at by itself, with an index that begins with it: where 200,000 mails wait for a server this look
 * takes 0.1 ms, and one that passes over them 36 ms.
 */
export async function leaseDeliveries(db: Db, { most, leaseMs, channels }: LeaseWish): Promise<LeasedDelivery[]> {
  const { rows } = await sql<LeasedDelivery>`
    update deliveries set attempts = attempts + 1, lease_token = gen_random_uuid(),
      lease_until = now() + make_interval(secs => ${leaseMs / 1_000})
    where id = any (array(
      select due.id from unnest(${channels}::text[]) as served, lateral (
        select id, next_attempt_at from deliveries
        where channel = served and state = 'pending' and next_attempt_at <= now()
          and (lease_until is null or lease_until <= now())
        order by next_attempt_at limit ${most} for update skip locked
      ) as due
      order by due.next_attempt_at limit ${most}
    ))
    returning id, user_id, channel, topic, template, parameters, attempts, lease_token,
      expires_at <= now() as expired
  `.execute(db);
  return rows;
}

/** Has leases of this process last from now on; those that are over are anybody's. */
export async function renewLeases(
  db: Db,
  leased: readonly Pick<LeasedDelivery, "id" | "lease_token">[],
  leaseMs: number,
): Promise<void> {
  await sql`
    update deliveries set lease_until = now() + make_interval(secs => ${leaseMs / 1_000})
    where id = any (${leased.map(({ id }) => id)}::uuid[])
      and lease_token = any (${leased.map((one) => one.lease_token)}::uuid[]) and lease_until > now()
  `.execute(db);
}

/** What an attempt ends with. */
export type AttemptEnd =
  | { readonly state: Exclude<DeliveryState, "pending">; readonly error: string }
  /** `waitMs` until the next attempt. */
  | { readonly state: "pending"; readonly error: string; readonly waitMs: number };

/**
 * Notes the end of an attempt. Answers false, and changes nothing, where its lease was over and somebody else has begun
 * another one.
 * @param recipient where it went to; undefined where it did not get so far
 */
export async function endAttempt(
  db: Db,
  { id, lease_token: token }: Pick<LeasedDelivery, "id" | "lease_token">,
  end: AttemptEnd,
  recipient: string | undefined,
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable("deliveries")
    .set({
      state: end.state,
      // A server may have said anything.
      error: end.error.replaceAll("\0", "").slice(0, 1_000),
      lease_token: null,
      lease_until: null,
      next_attempt_at: end.state === "pending" ? sql`now() + make_interval(secs => ${end.waitMs / 1_000})` : null,
      settled_at: end.state === "pending" ? null : sql`now()`,
      ...(recipient !== undefined && { recipient }),
    })
    .where("id", "=", id)
    .where("lease_token", "=", token)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Has a delivery that failed tried once more, now. Answers whether it had failed. */
export async function reviveDelivery(trx: Transaction<NotificationTables>, id: string): Promise<boolean> {
  const { numUpdatedRows } = await trx
    .updateTable("deliveries")
    .set({ state: "pending", next_attempt_at: sql`now()`, settled_at: null })
    .where("id", "=", id)
    .where("state", "=", "failed")
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

export type DeliveryRow = Omit<Deliveries, "parameters" | "lease_token" | "lease_until" | "expires_at">;

/** Undefined where there is no such delivery. */
export function findDelivery(db: Db, id: string): Promise<DeliveryRow | undefined> {
  return selectDeliveries(db).where("id", "=", id).executeTakeFirst();
}

export interface DeliveryFilter {
  /** Undefined: everybody's. */
  readonly userId: string | undefined;
  /** Empty: any. */
  readonly states: readonly DeliveryState[];
}

/** The newest first, after a delivery of the page before. */
export function listDeliveries(
  db: Db,
  { userId, states }: DeliveryFilter,
  afterId: string | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<DeliveryRow[]> {
  let query = selectDeliveries(db).orderBy("id", "desc").limit(limit);
  if (userId !== undefined) query = query.where("user_id", "=", userId);
  if (states.length > 0) query = query.where("state", "in", states);
  if (afterId !== undefined) query = query.where("id", "<", afterId);
  return query.execute(cancelledBy(signal));
}

function selectDeliveries(db: Db) {
  return db
    .selectFrom("deliveries")
    .select([
      "id",
      "event_id",
      "user_id",
      "channel",
      "topic",
      "template",
      "state",
      "recipient",
      "attempts",
      "error",
      "created_at",
      "next_attempt_at",
      "settled_at",
    ]);
}

/** Forgets deliveries that are older than ninety days and settled, a thousand at a time. */
export function pruneDeliveries(db: Db): Promise<void> {
  return pruneInBatches((most) =>
    sql`
      delete from deliveries where id = any (array(
        select id from deliveries
        where created_at < now() - make_interval(days => ${KEPT_DAYS})
        order by created_at limit ${most}
      ))
    `.execute(db),
  );
}
