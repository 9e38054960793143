import type { Worker } from "../../platform/events/worker.ts";
import { startWorker } from "../../platform/events/worker.ts";
import type { Logger } from "../../platform/logger.ts";
import type { StockContext } from "./change-stock.ts";
import { expireHold } from "./release-reservation.ts";
import { nextDueMs } from "./store-reservations.ts";

/** Milliseconds between looks at most: another process may have made a hold that is due sooner. */
const POLL_MS = 1_000;
/** Milliseconds between looks at least: a hold that is due may be under somebody's lock. */
const GAP_MS = 50;
/** Holds that are ended at the same time. */
const LANES = 2;

/** Ends holds when their time is over, each in a transaction of its own, by the database's clock. */
export function startSweeper(context: StockContext, log: Logger): Worker {
  let isDown = false;

  const drain = async () => {
    while (await expireHold(context));
  };

  return startWorker(async () => {
    try {
      await Promise.all(Array.from({ length: LANES }, drain));
      const dueMs = (await nextDueMs(context.db)) ?? POLL_MS;
      isDown = false;
      return { afterMs: Math.min(POLL_MS, Math.max(GAP_MS, Math.ceil(dueMs))) };
    } catch (error) {
      if (!isDown) log.warn({ err: error }, "holds that are due cannot be ended");
      isDown = true;
      return { afterMs: POLL_MS };
    }
  });
}
