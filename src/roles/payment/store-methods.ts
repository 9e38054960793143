import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import { newId } from "../../platform/id.ts";
import type { ProviderMethod } from "./provider.ts";
import type { PaymentMethods, PaymentTables } from "./schema.ts";

type Db = Kysely<PaymentTables>;

/** How many a user is shown. */
const MOST_LISTED = 50;

export type SavedMethod = Omit<PaymentMethods, "token" | "removed_at">;

const shown = [
  "id",
  "user_id",
  "provider",
  "brand",
  "last_digits",
  "expiry_month",
  "expiry_year",
  "created_at",
] as const;

export interface NewMethod extends ProviderMethod {
  readonly userId: string;
  readonly provider: string;
  readonly now: Date;
}

/** Saves a token; one that the user has saved before stays one, with what the provider says of it now. */
export function putMethod(trx: Transaction<PaymentTables>, method: NewMethod): Promise<SavedMethod> {
  return trx
    .insertInto("payment_methods")
    .values({
      id: newId(),
      user_id: method.userId,
      provider: method.provider,
      token: method.token,
      brand: method.brand,
      last_digits: method.lastDigits,
      expiry_month: method.expiryMonth,
      expiry_year: method.expiryYear,
      created_at: method.now,
    })
    .onConflict((conflict) =>
      conflict
        .columns(["user_id", "provider", "token"])
        .where("removed_at", "is", null)
        .doUpdateSet((row) => ({
          brand: row.ref("excluded.brand"),
          last_digits: row.ref("excluded.last_digits"),
          expiry_month: row.ref("excluded.expiry_month"),
          expiry_year: row.ref("excluded.expiry_year"),
        })),
    )
    .returning(shown)
    .executeTakeFirstOrThrow();
}

/** The newest first. */
export function listMethods(db: Db, userId: string): Promise<SavedMethod[]> {
  return db
    .selectFrom("payment_methods")
    .select(shown)
    .where("user_id", "=", userId)
    .where("removed_at", "is", null)
    .orderBy("id", "desc")
    .limit(MOST_LISTED)
    .execute();
}

/** Of a method, removed or not; undefined where there never was one. */
export async function findMethodOwner(db: Db, id: string): Promise<string | undefined> {
  const row = await db.selectFrom("payment_methods").select("user_id").where("id", "=", id).executeTakeFirst();
  return row?.user_id;
}

/** The token of a user's own method, as long as it is saved. */
export async function findToken(db: Db, id: string, userId: string, provider: string): Promise<string | undefined> {
  const row = await db
    .selectFrom("payment_methods")
    .select("token")
    .where("id", "=", id)
    .where("user_id", "=", userId)
    .where("provider", "=", provider)
    .where("removed_at", "is", null)
    .executeTakeFirst();
  return row?.token;
}

/** Forgets the token; the row stays, so that whose it was is known when it is removed again. */
export async function removeMethod(db: Db, id: string): Promise<void> {
  await db
    .updateTable("payment_methods")
    .set({ token: "", removed_at: sql<Date>`now()` })
    .where("id", "=", id)
    .where("removed_at", "is", null)
    .execute();
}
