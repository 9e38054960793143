import type { Clock } from "../../platform/clock.ts";
import type { Logger } from "../../platform/logger.ts";
import type { createTurns } from "../../platform/turns.ts";
import type { NoteContext } from "./note-move.ts";
import { LeaseLost, noteMove } from "./note-move.ts";
import type { Order } from "./order.ts";
import type { Attempt, CheckoutPeers } from "./peers.ts";
import type { Answer, SagaLimits } from "./saga.ts";
import { decide, isSkipped } from "./saga.ts";
import type { LeasedSaga } from "./store-sagas.ts";
import { hasOtherSagas } from "./store-sagas.ts";

/** The part of a lease that is left for noting an answer. */
const NOTE_SHARE = 0.1;

/** What is carried out together in one process. */
export interface CarryOutContext extends SagaContext {
  /** Few note their moves at the same time, so that calls find connections too. */
  readonly inTurn: ReturnType<typeof createTurns>;
}

export interface SagaContext extends NoteContext {
  readonly peers: CheckoutPeers;
  readonly clock: Clock;
  readonly limits: SagaLimits;
  /** Milliseconds that a peer gets for an answer. */
  readonly callMs: number;
  /** Seconds that units are held. */
  readonly holdSeconds: number;
  readonly log: Logger;
}

/** A lease with its end on this process's own clock, which no other process and no change of the time moves. */
export interface HeldSaga {
  readonly saga: LeasedSaga;
  readonly order: Order;
  /** By `performance.now()`. */
  readonly until: number;
}

/**
 * Carries a saga on, step by step, until it is finished or has to wait. A lease that is lost ends it silently: somebody
 * else goes on. Answers the milliseconds until it is due again; undefined where it is not for this process to say.
 * @throws what the database failed with
 */
export async function carryOut(
  context: CarryOutContext,
  first: HeldSaga,
  closing: AbortSignal,
): Promise<number | undefined> {
  let held: HeldSaga = first;
  const log = context.log.child({ order: first.order.id, saga: first.saga.kind });
  try {
    for (;;) {
      const { saga } = held;
      const answer = await ask(context, held, closing, log);
      // failpoint: order.${saga.step.toLowerCase()}.answered
      if (performance.now() >= held.until) return undefined;
      const renewed = performance.now();
      const now = context.clock.now();
      const { move, order } = await note(context, saga, answer, now, closing.aborted);
      // failpoint: order.${saga.step.toLowerCase()}.noted
      if (answer.case === "refused")
        log.info({ step: saga.step, why: answer.why, next: move.step }, "a step was refused");
      if (move.step === undefined) return undefined;
      if (move.step === saga.step || closing.aborted) return move.waitMs;
      const outcome = move.outcome ?? saga.outcome;
      const next = { ...saga, step: move.step, attempts: 1, stepSince: now, outcome };
      held = { saga: next, order, until: renewed + context.leaseMs };
    }
  } catch (error) {
    if (!(error instanceof LeaseLost)) throw error;
    log.warn("another process carries the order on");
    return undefined;
  }
}

/** Asks a peer to do the step. */
async function ask(context: CarryOutContext, held: HeldSaga, closing: AbortSignal, log: Logger): Promise<Answer> {
  const { peers, callMs, leaseMs, holdSeconds, db } = context;
  const { saga, order } = held;
  if (isSkipped(saga.step, order)) return { case: "skipped" };
  if (closing.aborted) return { case: "unknown" };
  const timeoutMs = Math.floor(Math.min(callMs, held.until - performance.now() - leaseMs * NOTE_SHARE));
  if (timeoutMs <= 0) throw new LeaseLost("its time is over");
  const attempt: Attempt = { timeoutMs, signal: closing, log: log.child({ step: saga.step }) };
  // failpoint: order.${saga.step.toLowerCase()}.begun
  switch (saga.step) {
    case "RESERVE":
      return peers.reserve(attempt, order, holdSeconds);
    case "AUTHORIZE":
      return peers.authorize(attempt, order);
    case "COMMIT":
      return peers.commit(attempt, order);
    case "CAPTURE":
      return peers.capture(attempt, order);
    case "VOID":
      return peers.void(attempt, order);
    case "RELEASE":
      return peers.release(attempt, order);
    case "SETTLE":
      if (await hasOtherSagas(db, saga)) return { case: "pending" };
      return { case: "done" };
    case "REFUND":
      return peers.refund(attempt, order, refundOf(held));
    case "RETURN":
      return peers.return(attempt, order, refundOf(held));
  }
}

function note(context: CarryOutContext, saga: LeasedSaga, answer: Answer, now: Date, isClosing: boolean) {
  return context.inTurn(undefined, () =>
    noteMove(context, saga, now, !isClosing, (order) => {
      const refund = order.refunds.find(({ id }) => id === saga.id);
      const move = decide({ ...saga, refund }, order, answer, now, context.limits);
      // What is broken off here is another process's at once.
      return isClosing ? { ...move, waitMs: 0 } : move;
    }),
  );
}

function refundOf({ saga, order }: HeldSaga): Order["refunds"][number] {
  const refund = order.refunds.find(({ id }) => id === saga.id);
  if (!refund) throw new Error(`the refund ${saga.id} is not recorded`);
  return refund;
}
