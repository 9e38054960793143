import type { Kysely, Selectable } from "kysely";
import { sql } from "kysely";
import { cancelledBy } from "../../platform/database.ts";
import { notFound } from "../../platform/errors.ts";
import type { ApiKeys, GatewayTables } from "./schema.ts";

export type ApiKeyRow = Selectable<ApiKeys>;

export async function insertApiKey(db: Kysely<GatewayTables>, key: ApiKeyRow): Promise<void> {
  await db.insertInto("api_keys").values(key).execute();
}

/** Newest first, those before an id. */
export function listApiKeys(
  db: Kysely<GatewayTables>,
  before: string | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<ApiKeyRow[]> {
  let query = db.selectFrom("api_keys").selectAll().orderBy("id", "desc").limit(limit);
  if (before !== undefined) query = query.where("id", "<", before);
  return query.execute(cancelledBy(signal));
}

/** Ends a key; one that has ended stays as it is. @throws AppError NOT_FOUND */
export async function revokeApiKey(db: Kysely<GatewayTables>, id: string, now: Date): Promise<ApiKeyRow> {
  const key = await db
    .updateTable("api_keys")
    .set({ revoked_at: sql<Date>`coalesce(revoked_at, ${now}::timestamptz)` })
    .where("id", "=", id)
    .returningAll()
    .executeTakeFirst();
  if (!key) throw notFound("API key", id);
  return key;
}

/** Those of the keys that exist and are not revoked. */
export function findLiveApiKeys(db: Kysely<GatewayTables>, ids: readonly string[]) {
  return db
    .selectFrom("api_keys")
    .select(["id", "permissions", "secret_hash", "expires_at"])
    .where(sql<boolean>`id = any (${ids}::uuid[])`)
    .where("revoked_at", "is", null)
    .execute();
}

/** Notes when keys were last used; never an earlier time. */
export async function updateLastUses(db: Kysely<GatewayTables>, uses: ReadonlyMap<string, Date>): Promise<void> {
  await sql`
    update api_keys k set last_used_at = greatest(k.last_used_at, u.used_at)
    from unnest(${[...uses.keys()]}::uuid[], ${[...uses.values()]}::timestamptz[]) as u (id, used_at)
    where k.id = u.id
  `.execute(db);
}
