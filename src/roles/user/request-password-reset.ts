import type { Kysely } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import { afterCommit, transaction } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import type { Logger } from "../../platform/logger.ts";
import type { UserAnnouncements } from "./events.ts";
import type { UserTables } from "./schema.ts";
import { findAccountId } from "./store-credentials.ts";
import { insertResetRequest, isResetRequested, takeResetRequests } from "./store-password-resets.ts";
import { countResetRequest } from "./throttle-tries.ts";

/** Milliseconds between looks for requests that another process took and did not carry out. */
const POLL_MS = 1_000;

export interface PasswordResetContext {
  readonly db: Kysely<UserTables>;
  readonly clock: Clock;
  readonly announce: UserAnnouncements;
  readonly log: Logger;
}

export interface PasswordResets {
  /**
   * Takes a request for an email down. It is answered before it is looked up: who asks cannot tell from the time
   * whether there is such an account.
   * @param address of the client; undefined where it is not known
   * @throws AppError RATE_LIMITED
   */
  request(email: string, address: string | undefined): Promise<void>;
  close(): Promise<void>;
}

/** Takes requests, and carries them out one after the other: who has an active account is to get a mail. */
export function keepPasswordResets({ db, clock, announce, log }: PasswordResetContext): PasswordResets {
  let running: Promise<void> | undefined;
  let isWanted = false;
  let isTold = false;

  async function carryOut(): Promise<void> {
    while (isWanted) {
      isWanted = false;
      if (!(await isResetRequested(db))) return;
      await transaction(db, async (trx) => {
        const now = clock.now();
        const userIds: string[] = [];
        for (const email of await takeResetRequests(trx)) {
          const userId = await findAccountId(trx, email);
          if (userId !== undefined) userIds.push(userId);
        }
        // In one order everywhere: an event locks the numbers of its user.
        for (const userId of userIds.toSorted()) await announce.wished(trx, "passwordResetRequested", userId, now);
      });
      isTold = false;
      isWanted = true;
    }
  }

  function wake(): void {
    isWanted = true;
    running ??= carryOut()
      .catch((error: unknown) => {
        // The requests stay, and the next look takes them.
        if (!isTold) log.warn({ err: error }, "requests for a new password were not carried out");
        isTold = true;
      })
      .finally(() => (running = undefined));
  }

  const timer = setInterval(wake, POLL_MS);
  timer.unref();
  return {
    async request(email, address) {
      await countResetRequest(db, email, address, clock);
      await transaction(db, async (trx) => {
        await insertResetRequest(trx, newId(), email.toLowerCase(), clock.now());
        afterCommit(trx, wake);
      });
    },
    async close() {
      clearInterval(timer);
      await running;
    },
  };
}
