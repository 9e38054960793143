import type { Kysely, Selectable, Transaction } from "kysely";
import { onConstraint } from "../../platform/database.ts";
import { notFound, versionMismatch } from "../../platform/errors.ts";
import { inventoryErrors } from "./errors.ts";
import type { InventoryTables, Locations } from "./schema.ts";

type Trx = Transaction<InventoryTables>;

export type LocationRow = Selectable<Locations>;

/** @throws AppError LOCATION_TAKEN */
export function insertLocation(
  trx: Trx,
  location: Pick<LocationRow, "code" | "name" | "priority">,
  now: Date,
): Promise<LocationRow> {
  return onConstraint({ locations_pkey: (cause) => inventoryErrors.LOCATION_TAKEN({ cause }) }, () =>
    trx
      .insertInto("locations")
      .values({ ...location, created_at: now, updated_at: now })
      .returningAll()
      .executeTakeFirstOrThrow(),
  );
}

/** Changes what is given. @throws AppError NOT_FOUND, VERSION_MISMATCH */
export async function updateLocation(
  trx: Trx,
  code: string,
  expectedVersion: number,
  change: Partial<Pick<LocationRow, "name" | "priority">>,
  now: Date,
): Promise<LocationRow> {
  let query = trx
    .updateTable("locations")
    .set((eb) => ({ ...change, version: eb("version", "+", 1), updated_at: now }))
    .where("code", "=", code)
    .returningAll();
  if (expectedVersion !== 0) query = query.where("version", "=", expectedVersion);
  const updated = await query.executeTakeFirst();
  if (updated) return updated;
  const current = await trx.selectFrom("locations").select("version").where("code", "=", code).executeTakeFirst();
  throw current ? versionMismatch(current.version) : notFound("location", code);
}

/** All, in the order in which orders take from them. */
export function listLocations(db: Kysely<InventoryTables>): Promise<LocationRow[]> {
  return db.selectFrom("locations").selectAll().orderBy("priority").orderBy("code").execute();
}
