import { startWorker } from "../../platform/events/worker.ts";
import { transaction } from "../../platform/database.ts";
import { sendAuthorization } from "./authorize-payment.ts";
import { sendCapture } from "./capture-payment.ts";
import type { OperationKind, Payment } from "./payment.ts";
import { waitAfter } from "./payment.ts";
import { sendRefund } from "./refund-payment.ts";
import { ProviderRefusal } from "./provider.ts";
import type { SendContext, Sending } from "./send-operation.ts";
import { sightOf } from "./send-operation.ts";
import type { Outcome } from "./settle-payment.ts";
import { giveUp, noteOutcome, noteSight } from "./settle-payment.ts";
import { getPaymentById } from "./store.ts";
import type { DueLook } from "./store-looks.ts";
import { claimLooks, endLook } from "./store-looks.ts";
import type { DueOperation } from "./store-operations.ts";
import { beginSend, claimOperations, postponeOperation } from "./store-operations.ts";
import { sendVoid } from "./void-payment.ts";

/** Operations that one process looks at at the same time. */
const CONCURRENT = 32;
/** Milliseconds between looks for what has become due, or what another process left. */
const POLL_MS = 500;
/** After which a look that failed is repeated. */
const LOOK_AGAIN_MS = 60_000;

export interface Reconciler {
  /** Has it look at once. */
  wake(): void;
  /** Begins nothing any more, and waits for what is under way. */
  close(): Promise<void>;
}

type Sender = (context: SendContext, sending: Sending, payment: Payment) => Promise<void>;

const senders: Readonly<Record<OperationKind, Sender>> = {
  AUTHORIZE: sendAuthorization,
  CAPTURE: sendCapture,
  VOID: sendVoid,
  REFUND: sendRefund,
};

/** Brings every operation to its end whose outcome is not known, in this process, until it is closed. */
export function startReconciler(context: SendContext): Reconciler {
  const { db, provider, patience, log } = context;
  const underWay = new Set<Promise<void>>();
  let isDown = false;
  let isClosing = false;

  const worker = startWorker(async () => {
    const most = CONCURRENT - underWay.size;
    if (most === 0 || isClosing) return { afterMs: POLL_MS };
    try {
      const wish = { provider: provider.name, most, leaseMs: patience.leaseMs, keyLifetimeMs: provider.keyLifetimeMs };
      for (const due of await claimOperations(db, wish)) {
        begin(reconcile(context, due), { operation: due.id, kind: due.kind }, "an open payment was not brought on");
      }
      for (const due of await claimLooks(db, { ...wish, most: CONCURRENT - underWay.size, leaseMs: LOOK_AGAIN_MS })) {
        begin(lookAgain(context, due), { payment: due.paymentId }, "what the provider told was not looked up");
      }
      isDown = false;
    } catch (error) {
      if (!isDown) log.warn({ err: error }, "payments that are open cannot be read");
      isDown = true;
    }
    return { afterMs: POLL_MS };
  });

  function begin(work: Promise<void>, about: Readonly<Record<string, string>>, failure: string): void {
    const done = work
      .catch((error: unknown) => {
        // It is due again once its lease is over.
        log.warn({ err: error, ...about }, failure);
      })
      .finally(() => {
        underWay.delete(done);
        worker.wake();
      });
    underWay.add(done);
  }

  return {
    wake: () => {
      worker.wake();
    },
    async close() {
      isClosing = true;
      await worker.close();
      await Promise.all(underWay);
    },
  };
}

/**
 * Looks an operation up, and sends it, again or for the first time, where it certainly had no effect and its key is
 * remembered for long enough.
 */
async function reconcile(context: SendContext, due: DueOperation): Promise<void> {
  if (due.sends > 0) {
    const found = await look(context, due);
    if (found !== "absent") {
      const isSettled = await transaction(context.db, (trx) => noteOutcome(trx, context, due, found, false));
      if (isSettled || found.kind !== "seen" || isKnown(due, found)) return;
    }
    if (due.isDead) {
      await transaction(context.db, (trx) => giveUp(trx, context, due));
      return;
    }
  }
  const leasedAt = performance.now();
  const maySend = await beginSend(context.db, due.id, {
    leaseMs: context.patience.leaseMs,
    keyLifetimeMs: context.provider.keyLifetimeMs,
  });
  if (maySend) await senders[due.kind](context, { ...due, leasedAt }, await getPaymentById(context.db, due.paymentId));
  else await postponeOperation(context.db, due.id, waitAfter(due.tries, true), false);
}

async function look({ provider, patience, closing, log }: SendContext, due: DueOperation): Promise<Outcome | "absent"> {
  const signal = AbortSignal.any([closing, AbortSignal.timeout(patience.lookMs)]);
  try {
    const payment = await provider.find(due, signal);
    return payment ? sightOf(payment, due.paymentId) : "absent";
  } catch (error) {
    log.warn({ err: error, operation: due.id, kind: due.kind, tries: due.tries }, "a payment could not be looked up");
    return { kind: "unknown", error };
  }
}

/** Looks a payment up of which the provider told something, while nothing is open. */
async function lookAgain(context: SendContext, due: DueLook): Promise<void> {
  const { db, provider, patience, closing, log } = context;
  const signal = AbortSignal.any([closing, AbortSignal.timeout(patience.lookMs)]);
  const found = await provider.find(due, signal).catch((error: unknown) => {
    if (!(error instanceof ProviderRefusal)) throw error;
  });
  if (found?.paymentId === due.paymentId) {
    await transaction(db, (trx) => noteSight(trx, context, due, found));
    return;
  }
  log.error({ payment: due.paymentId }, "the provider told of a payment that it does not know");
  await endLook(db, due);
}

/** Whether the provider has got it, and works at it: it is not asked again. */
function isKnown({ id, kind }: DueOperation, found: Outcome & { readonly kind: "seen" }): boolean {
  return kind === "AUTHORIZE" || found.payment.refunds.some(({ key }) => key === id);
}
