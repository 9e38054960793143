import type { Kysely } from "kysely";
import type { Call } from "../../platform/call.ts";
import type { Notifications } from "../../platform/notifications.ts";
import type { UserTables } from "./schema.ts";
import { lastPosition, listRevocations } from "./store-sessions.ts";

/** Milliseconds between looks where no notification comes: that is a hint, this the guarantee. */
const POLL_MS = 500;

/** Sessions that one message names at most. */
const MOST_NAMED = 1_000;

export interface RevocationsContext {
  readonly db: Kysely<UserTables>;
  readonly notifications: Notifications;
  /** Aborts when the process begins to stop. */
  readonly stopping: AbortSignal;
}

export interface Revoked {
  readonly sessionIds: string[];
  /** Everything up to here has been told. */
  readonly position: bigint;
}

/**
 * The sessions that have ended after a position, as they end. Each message is a look into the database, those without
 * sessions too: who hears nothing for a second knows that it knows nothing.
 */
export async function* watchRevocations(
  { db, notifications, stopping }: RevocationsContext,
  call: Call,
  after: bigint,
): AsyncIterable<Revoked> {
  const changes = notifications.watch("");
  const signal = AbortSignal.any([call.signal, stopping]);
  try {
    // A position that was never given out is of a database that was since put back: it begins anew.
    let position = after <= (await lastPosition(db)) ? after : 0n;
    for (;;) {
      const changed = changes.next(POLL_MS, signal);
      const revocations = await listRevocations(db, position, MOST_NAMED, call.signal);
      position = revocations.at(-1)?.position ?? position;
      yield { sessionIds: revocations.map(({ sessionId }) => sessionId), position };
      if (revocations.length < MOST_NAMED) await changed;
      // An abort wakes the wait too; nothing else would end this loop, which nobody reads any more.
      call.signal.throwIfAborted();
      if (stopping.aborted) return;
    }
  } finally {
    changes.close();
  }
}
