import type { Kysely } from "kysely";
import { startWorker } from "../../platform/events/worker.ts";
import type { Logger } from "../../platform/logger.ts";
import { checkAgainAfter, isUuid } from "./payment.ts";
import type { OrderPeer } from "./peers.ts";
import type { PaymentProvider, ProviderPayment } from "./provider.ts";
import type { PaymentTables } from "./schema.ts";
import { listAbsentPayments } from "./store.ts";
import type { DueCheck } from "./store-checks.ts";
import { claimChecks, endCheck } from "./store-checks.ts";

/** Milliseconds between runs. */
const EVERY_MS = 60_000;
/** Milliseconds for which nobody else checks what this process has taken. */
const LEASE_MS = 30_000;
const BATCH = 100;
/** Milliseconds that a run looks back at the provider beyond the last one: its clock may differ. */
const OVERLAP_MS = 300_000;
/** Milliseconds that the first run looks back. */
const FIRST_MS = 3_600_000;

export interface CheckContext {
  readonly db: Kysely<PaymentTables>;
  readonly provider: PaymentProvider;
  readonly orders: OrderPeer;
  readonly log: Logger;
  /** Aborts when the role closes. */
  readonly closing: AbortSignal;
}

/** Looks once a minute for money without an order: ours without one of the shop, and the provider's without one of ours. */
export function startChecks(context: CheckContext): { close(): Promise<void> } {
  const told = new Set<string>();
  let since = new Date(Date.now() - FIRST_MS);
  let isFirst = true;
  return startWorker(async () => {
    // Not at the start: the other roles are not there yet.
    if (isFirst) isFirst = false;
    else {
      const startedAt = Date.now();
      await orLog(context, "orders of payments were not looked at", () => checkOrders(context));
      await orLog(context, "payments of the provider were not looked at", async () => {
        await checkProvider(context, since, told);
        since = new Date(startedAt - OVERLAP_MS);
      });
    }
    return { afterMs: EVERY_MS };
  });
}

/** Flags payments that hold money for an order that there is not, or that takes none; and takes old flags back. */
export async function checkOrders({ db, orders, log, closing }: CheckContext): Promise<void> {
  for (;;) {
    const due = await claimChecks(db, BATCH, LEASE_MS);
    if (due.length === 0) return;
    const ids = due.map(({ orderId }) => orderId);
    const payable = await orders.listPayable(ids, closing);
    for (const payment of due) {
      const isWrong = hasMoneyLeft(payment) && !payable.has(payment.orderId);
      const isUrgent = isWrong || payment.state === "AUTHORIZED";
      const isNews = await endCheck(db, payment.id, isWrong, checkAgainAfter(payment.ageMs, isUrgent));
      if (isNews) log.warn({ payment: payment.id, order: payment.orderId }, "a payment has no order that takes it");
    }
    if (due.length < BATCH) return;
  }
}

/** What is on its way back does not count. */
function hasMoneyLeft({ state, capturedMinor, refundedMinor, refundingMinor }: DueCheck): boolean {
  return state === "AUTHORIZED" || capturedMinor - refundedMinor - refundingMinor > 0n;
}

/** Logs payments of the provider that nobody here asked for, each once. Ours are written down before they are sent. */
export async function checkProvider(
  { db, provider, log, closing }: Omit<CheckContext, "orders">,
  since: Date,
  told: Set<string>,
): Promise<void> {
  let batch: ProviderPayment[] = [];
  const look = async () => {
    const ids = batch.map(({ paymentId }) => paymentId).filter(isUuid);
    const absent = new Set(await listAbsentPayments(db, ids));
    for (const { reference, paymentId, state } of batch) {
      if ((isUuid(paymentId) && !absent.has(paymentId)) || told.has(reference)) continue;
      told.add(reference);
      log.error({ reference, state }, "the provider has a payment that nobody here asked for");
    }
    batch = [];
  };
  for await (const payment of provider.listSince(since, closing)) {
    batch.push(payment);
    if (batch.length === BATCH) await look();
  }
  await look();
}

async function orLog({ log, closing }: CheckContext, what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!closing.aborted) log.warn({ err: error }, what);
  }
}
