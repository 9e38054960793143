import type { Kysely } from "kysely";
import type { Call } from "../../platform/call.ts";
import type { Notifications } from "../../platform/notifications.ts";
import type { Order, OrderTransition } from "./order.ts";
import { isFinal } from "./order.ts";
import type { OrderTables } from "./schema.ts";
import { getOrder, listEvents } from "./store.ts";

/** Milliseconds between looks where no notification comes: that is a hint, this the guarantee. */
const POLL_MS = 2_000;

/** Milliseconds before its deadline at which a call that waits answers what it has. */
const MARGIN_MS = 250;

export interface WatchContext {
  readonly db: Kysely<OrderTables>;
  readonly notifications: Notifications;
  /** Aborts when the process begins to stop. */
  readonly stopping: AbortSignal;
}

/**
 * An order's history after a position, each event once and in order, as it happens; ends after a final one.
 * @throws AppError NOT_FOUND
 */
export async function* watchOrder(
  { db, notifications }: WatchContext,
  call: Call,
  id: string,
  after: bigint,
): AsyncIterable<OrderTransition> {
  let position = after;
  const changes = notifications.watch(id);
  try {
    for (;;) {
      const changed = changes.next(POLL_MS, call.signal);
      // Before its events: a final state then has its event among them.
      const { state } = await getOrder(db, id, call.signal);
      for (const event of await listEvents(db, id, position, call.signal)) {
        yield event;
        position = event.position;
      }
      if (isFinal(state)) return;
      await changed;
      // An abort wakes the wait too; nothing else would end this loop, which nobody reads any more.
      call.signal.throwIfAborted();
    }
  } finally {
    changes.close();
  }
}

/** The order once it is as wanted, or as it stands when the call's time is nearly over or the process stops. */
export async function waitUntil(
  { db, notifications, stopping }: WatchContext,
  call: Call,
  id: string,
  isWanted: (order: Order) => boolean,
): Promise<Order> {
  const until = (call.deadline ?? Date.now()) - MARGIN_MS;
  const changes = notifications.watch(id);
  try {
    for (;;) {
      const left = until - Date.now();
      const changed = changes.next(Math.max(0, Math.min(left, POLL_MS)), AbortSignal.any([call.signal, stopping]));
      const order = await getOrder(db, id, call.signal);
      if (isWanted(order) || left <= 0 || stopping.aborted) return order;
      await changed;
      call.signal.throwIfAborted();
    }
  } finally {
    changes.close();
  }
}
