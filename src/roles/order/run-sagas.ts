import { startWorker } from "../../platform/events/worker.ts";
import { createTurns } from "../../platform/turns.ts";
import type { SagaContext } from "./carry-out-saga.ts";
import { carryOut } from "./carry-out-saga.ts";
import type { SagaLimits } from "./saga.ts";
import { listOrdersById } from "./store.ts";
import type { LeasedSaga } from "./store-sagas.ts";
import { isAskingAgain, leaseSagas, oldestDueMs } from "./store-sagas.ts";

/** How sagas are carried out; milliseconds. */
export interface SagaTimings extends Omit<SagaLimits, "paymentMs"> {
  /** After which another process may go on: whoever held the lease stops, or has stopped. */
  readonly leaseMs: number;
  /** That a peer gets for an answer. */
  readonly callMs: number;
  /** Between looks for what another process left, or what has become due. */
  readonly pollMs: number;
  /** Sagas of one process at the same time. */
  readonly concurrent: number;
  /** Beside them, those that ask for a payment again. */
  readonly concurrentAgain: number;
}

export const sagaTimings: SagaTimings = {
  leaseMs: 10_000,
  callMs: 8_000,
  pollMs: 1_000,
  concurrent: 64,
  concurrentAgain: 16,
  leastPauseMs: 200,
  mostPauseMs: 5_000,
  askAgainMs: 15_000,
  mostAskAgainMs: 60_000,
  giveUpMs: 600_000,
};

/** Of the ten connections of a process. */
const NOTES_AT_ONCE = 5;
/** Milliseconds that steps under way get to end when the process stops. */
const GRACE_MS = 1_000;

export interface SagaRunner {
  /** Has it look at once. */
  readonly wake: () => void;
  /** Whether sagas wait so long that no more orders should come. */
  readonly isOverloaded: () => boolean;
  /** Begins no other saga; steps under way get a moment, and are broken off then: another process goes on. */
  close(): Promise<void>;
}

/**
 * Carries out what is due, in this process, until it is closed.
 * @param overloadMs that the longest due saga may wait; beyond it the shop takes no more orders
 */
export function startSagas(context: SagaContext, timings: SagaTimings, overloadMs: number): SagaRunner {
  const { db, log } = context;
  const { leaseMs, pollMs, concurrent, concurrentAgain } = timings;
  const closing = new AbortController();
  const inTurn = createTurns(NOTES_AT_ONCE, concurrent);
  const underWay = new Set<Promise<void>>();
  let askingAgain = 0;
  let measuredAt = Number.NEGATIVE_INFINITY;
  let isOverloaded = false;
  let isDown = false;
  let isClosing = false;
  /** When a saga of this process is due again, by `performance.now()`. */
  let dueAgainAt = Number.POSITIVE_INFINITY;

  const worker = startWorker(async () => {
    const free = concurrent - underWay.size;
    if (isClosing) return { afterMs: pollMs };
    try {
      if (performance.now() - measuredAt >= pollMs) await measure();
      if (performance.now() >= dueAgainAt) dueAgainAt = Number.POSITIVE_INFINITY;
      if (free > 0) await begin(free);
      isDown = false;
    } catch (error) {
      if (!isDown) log.warn({ err: error }, "orders are not carried out at the moment");
      isDown = true;
    }
    return { afterMs: Math.max(1, Math.min(pollMs, dueAgainAt - performance.now())) };
  });

  async function measure(): Promise<void> {
    measuredAt = performance.now();
    const wasOverloaded = isOverloaded;
    const ms = await oldestDueMs(db);
    isOverloaded = ms > overloadMs;
    if (isOverloaded !== wasOverloaded) {
      log.warn({ oldestSeconds: Math.round(ms / 1_000) }, isOverloaded ? "orders wait too long" : "orders do not wait");
    }
  }

  async function begin(most: number): Promise<void> {
    // Before the statement: the database's lease begins later and ends later than what is noted here.
    const until = performance.now() + leaseMs;
    const leased = await leaseSagas(db, { most, mostAgain: Math.max(0, concurrentAgain - askingAgain) }, leaseMs);
    const orders = await listOrdersById(db, [...new Set(leased.map(({ orderId }) => orderId))]);
    const byId = new Map(orders.map((order) => [order.id, order]));
    for (const saga of leased) {
      const order = byId.get(saga.orderId);
      if (order) run(saga, carryOut({ ...context, inTurn }, { saga, order, until }, closing.signal));
    }
  }

  function run(saga: LeasedSaga, work: Promise<number | undefined>): void {
    const isAgain = isAskingAgain(saga);
    if (isAgain) askingAgain += 1;
    const done = work
      .then((waitMs = Number.POSITIVE_INFINITY) => {
        dueAgainAt = Math.min(dueAgainAt, performance.now() + waitMs);
      })
      .catch((error: unknown) => {
        // It stays leased, and is gone on with after that.
        log.warn({ err: error, order: saga.orderId, step: saga.step }, "a step of an order was not noted");
      })
      .finally(() => {
        underWay.delete(done);
        if (isAgain) askingAgain -= 1;
        worker.wake();
      });
    underWay.add(done);
  }

  return {
    wake: () => {
      worker.wake();
    },
    isOverloaded: () => isOverloaded,
    async close() {
      isClosing = true;
      const timer = setTimeout(() => {
        closing.abort(new Error("the process stops"));
      }, GRACE_MS);
      await worker.close();
      await Promise.all(underWay);
      clearTimeout(timer);
    },
  };
}
