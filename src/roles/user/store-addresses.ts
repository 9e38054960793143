import type { Kysely, Selectable, Transaction } from "kysely";
import type { Address } from "./address.ts";
import type { Addresses, UserTables } from "./schema.ts";

export type AddressRow = Selectable<Addresses>;

/** The address book of a user, in the order of entry. */
export function listAddresses(db: Kysely<UserTables>, userId: string): Promise<AddressRow[]> {
  return db.selectFrom("addresses").selectAll().where("user_id", "=", userId).orderBy("id").execute();
}

/** How many addresses a user has. Count under the lock of the user. */
export async function countAddresses(trx: Transaction<UserTables>, userId: string): Promise<number> {
  const { count } = await trx
    .selectFrom("addresses")
    .select((eb) => eb.fn.countAll<bigint>().as("count"))
    .where("user_id", "=", userId)
    .executeTakeFirstOrThrow();
  return Number(count);
}

export function insertAddress(trx: Transaction<UserTables>, row: AddressRow): Promise<AddressRow> {
  const values = { ...row, address: JSON.stringify(row.address) };
  return trx.insertInto("addresses").values(values).returningAll().executeTakeFirstOrThrow();
}

/** Replaces an address of a user; undefined where the user has none with this id. */
export function updateAddress(
  trx: Transaction<UserTables>,
  userId: string,
  id: string,
  address: Address,
  now: Date,
): Promise<AddressRow | undefined> {
  return trx
    .updateTable("addresses")
    .set({ address: JSON.stringify(address), updated_at: now })
    .where("id", "=", id)
    .where("user_id", "=", userId)
    .returningAll()
    .executeTakeFirst();
}

/** Removes an address of a user. False where the user has none with this id. */
export async function deleteAddress(trx: Transaction<UserTables>, userId: string, id: string): Promise<boolean> {
  const { numDeletedRows } = await trx
    .deleteFrom("addresses")
    .where("id", "=", id)
    .where("user_id", "=", userId)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}
