import { transaction } from "../../platform/database.ts";
import type { StockContext } from "./change-stock.ts";
import { changeStock } from "./change-stock.ts";
import type { CataloguePeer } from "./peers.ts";
import { MAIN_LOCATION } from "./stock.ts";
import { insertItems, insertLevels, lockStock } from "./store.ts";

/** Units of each SKU. */
const OPENING_STOCK = 100n;

/** Puts every SKU of the catalogue that is not known here into stock. */
export async function addSamples(context: StockContext, catalogue: CataloguePeer): Promise<void> {
  for await (const skus of catalogue.listSkus()) await stockUp(context, skus);
}

async function stockUp(context: StockContext, skus: readonly string[]): Promise<void> {
  await transaction(context.db, async (trx) => {
    const added = await insertItems(trx, skus, context.clock.now());
    await insertLevels(trx, added, [MAIN_LOCATION]);
    const changes = added.map((sku) => ({ sku, location: MAIN_LOCATION, onHand: OPENING_STOCK, reserved: 0n }));
    const cause = { kind: "RECEIPT", reason: "opening stock", actor: "service:inventory" } as const;
    await changeStock(context, trx, await lockStock(trx, added), { changes, cause });
  });
}
