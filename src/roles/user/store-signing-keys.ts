import type { Kysely, Selectable, Transaction } from "kysely";
import { sql } from "kysely";
import type { SigningKeys, UserTables } from "./schema.ts";

export type SigningKeyRow = Selectable<SigningKeys>;

/** Until the end of the transaction, whoever makes a key too waits here. */
export async function lockSigningKeys(trx: Transaction<UserTables>): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtext('signing keys'))`.execute(trx);
}

/** The keys that are published, in the order in which they sign. */
export function listSigningKeys(db: Kysely<UserTables>, now: Date): Promise<SigningKeyRow[]> {
  return db.selectFrom("signing_keys").selectAll().where("valid_until", ">", now).orderBy("signs_from").execute();
}

/** Adds a key, and forgets those that are published no more. */
export async function insertSigningKey(trx: Transaction<UserTables>, key: SigningKeyRow, now: Date): Promise<void> {
  await trx.deleteFrom("signing_keys").where("valid_until", "<=", now).execute();
  await trx.insertInto("signing_keys").values(key).execute();
}
