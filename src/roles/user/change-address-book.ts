import type { Transaction } from "kysely";
import { errors } from "../../platform/errors.ts";
import { newId } from "../../platform/id.ts";
import type { Address } from "./address.ts";
import { MOST_ADDRESSES } from "./address.ts";
import { userErrors } from "./errors.ts";
import type { UserTables } from "./schema.ts";
import type { AddressRow } from "./store-addresses.ts";
import { countAddresses, insertAddress, updateAddress } from "./store-addresses.ts";
import { lockUser } from "./store.ts";

/**
 * Adds an address; of calls at once no more are added than there is room for.
 * @throws AppError ADDRESS_BOOK_FULL; NOT_FOUND of the user
 */
export async function addAddress(
  trx: Transaction<UserTables>,
  userId: string,
  address: Address,
  now: Date,
): Promise<AddressRow> {
  await lockUser(trx, userId);
  if ((await countAddresses(trx, userId)) >= MOST_ADDRESSES) throw userErrors.ADDRESS_BOOK_FULL();
  return insertAddress(trx, { id: newId(), user_id: userId, address, created_at: now, updated_at: now });
}

/** Replaces an address. @throws AppError ACCESS_DENIED where the user has none with this id, whoever else has it */
export async function replaceAddress(
  trx: Transaction<UserTables>,
  userId: string,
  id: string,
  address: Address,
  now: Date,
): Promise<AddressRow> {
  const changed = await updateAddress(trx, userId, id, address, now);
  if (!changed) throw errors.ACCESS_DENIED();
  return changed;
}
