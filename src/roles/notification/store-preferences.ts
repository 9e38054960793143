import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import type { Channel, Topic } from "./delivery.ts";
import type { Preference } from "./preferences.ts";
import type { NotificationTables } from "./schema.ts";

type Db = Kysely<NotificationTables>;

/** What a user said; nothing of the rest. */
export function listPreferences(db: Db, userId: string): Promise<Preference[]> {
  return db.selectFrom("preferences").select(["topic", "channel", "enabled"]).where("user_id", "=", userId).execute();
}

/** Undefined where the user never said. */
export async function findPreference(
  db: Db,
  userId: string,
  topic: Topic,
  channel: Channel,
): Promise<boolean | undefined> {
  const row = await db
    .selectFrom("preferences")
    .select("enabled")
    .where("user_id", "=", userId)
    .where("topic", "=", topic)
    .where("channel", "=", channel)
    .executeTakeFirst();
  return row?.enabled;
}

/** Notes what a user says now; each topic and channel at most once, as one statement touches a row once. */
export async function putPreferences(
  db: Db | Transaction<NotificationTables>,
  userId: string,
  preferences: readonly Preference[],
): Promise<void> {
  await db
    .insertInto("preferences")
    .values(
      preferences.map(({ topic, channel, enabled }) => ({
        user_id: userId,
        topic,
        channel,
        enabled,
        updated_at: sql<Date>`now()`,
      })),
    )
    .onConflict((conflict) =>
      conflict.constraint("preferences_pkey").doUpdateSet((row) => ({
        enabled: row.ref("excluded.enabled"),
        updated_at: row.ref("excluded.updated_at"),
      })),
    )
    .execute();
}
