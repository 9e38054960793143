import { setTimeout as delay } from "node:timers/promises";
import type { Call } from "../../platform/call.ts";
import type { Payment } from "./payment.ts";
import type { ProviderPayment } from "./provider.ts";
import { ProviderRefusal } from "./provider.ts";
import type { Outcome, SettleContext } from "./settle-payment.ts";
import type { LeasedOperation } from "./store-operations.ts";
import { isBeingSent } from "./store-operations.ts";

/** How long things may take, in milliseconds. */
export interface Patience {
  /** The provider's answer to a change. */
  readonly sendMs: number;
  /** The provider's answer to a look. */
  readonly lookMs: number;
  /** Whoever has an operation has it for so long: longer than a send, and what comes before and after it. */
  readonly leaseMs: number;
}

export const patience: Patience = { sendMs: 6_000, lookMs: 4_000, leaseMs: 10_000 };

/** Milliseconds before its deadline at which a call answers with what is known. */
const ANSWER_BEFORE_MS = 500;
/** Milliseconds that a call waits for the provider: whoever waits longer is told by an event, and takes no place meanwhile. */
const ANSWER_WITHIN_MS = 1_500;
/** Milliseconds between looks at what another process sends. */
const POLL_MS = 100;

export interface SendContext extends SettleContext {
  readonly patience: Patience;
  /** Aborts when what is under way is to end: nobody waits any more. */
  readonly closing: AbortSignal;
  /** What this process sends at the moment, by the operation's id. */
  readonly underWay: Map<string, Promise<void>>;
  /** Where the buyer goes after an action. */
  readonly returnUrl: (orderId: string) => string;
}

/** The right to send, together with the moment since which it holds. */
export interface Sending extends LeasedOperation {
  /** By `performance.now()`, from before the database was asked. */
  readonly leasedAt: number;
}

/**
 * Milliseconds for which this process sends what it writes down for a payment; undefined where the payment is of another
 * provider, whose processes find it.
 */
export function leaseFor({ provider, patience: { leaseMs } }: SendContext, payment: Payment): number | undefined {
  return payment.provider === provider.name ? leaseMs : undefined;
}

/** Calls the provider, and answers what came of it; never throws. */
export async function ask(
  { patience: { sendMs, leaseMs }, closing, log }: SendContext,
  { id, kind, paymentId, tries, leasedAt }: Sending,
  call: (signal: AbortSignal) => Promise<ProviderPayment>,
): Promise<Outcome> {
  try {
    // Held up for so long that the lease may end before the answer: then somebody else sends it, or its key is dead.
    if (performance.now() - leasedAt > leaseMs - sendMs)
      throw new Error("the process was held up before it could send");
    return sightOf(await call(AbortSignal.any([closing, AbortSignal.timeout(sendMs)])), paymentId);
  } catch (error) {
    if (error instanceof ProviderRefusal) return { kind: "refused", refusal: error };
    log.warn({ err: error, operation: id, kind, tries }, "the outcome of a call of the provider is not known");
    return { kind: "unknown", error };
  }
}

/** What an answer about a payment of ours shows. @throws Error where it is about another one */
export function sightOf(payment: ProviderPayment, paymentId: string): Outcome {
  if (payment.paymentId !== paymentId) throw new Error("the provider answered with another payment");
  return { kind: "seen", payment };
}

/** Carries an operation out beside the call that asked for it: it goes on where the call's time is over. */
export function carryOut(
  context: SendContext,
  { id, kind }: Pick<LeasedOperation, "id" | "kind">,
  work: Promise<void>,
): void {
  const done = work
    .catch((error: unknown) => {
      // The reconciler looks it up once its lease is over.
      context.log.warn({ err: error, operation: id, kind }, "what the provider answered was not noted");
    })
    .finally(() => {
      context.underWay.delete(id);
    });
  context.underWay.set(id, done);
}

/** Waits until an operation is not sent by anybody any more, here or elsewhere; at most until the call has to answer. */
export async function waitWhileSent(context: SendContext, call: Call, operationId: string): Promise<void> {
  const leftMs = (call.deadline ?? Infinity) - Date.now() - ANSWER_BEFORE_MS;
  const late = AbortSignal.any([
    call.signal,
    AbortSignal.timeout(Math.ceil(Math.min(Math.max(0, leftMs), ANSWER_WITHIN_MS))),
  ]);
  const own = context.underWay.get(operationId);
  try {
    if (own) await Promise.race([own, delay(2 * context.patience.leaseMs, undefined, { signal: late, ref: false })]);
    else while (await isBeingSent(context.db, operationId)) await delay(POLL_MS, undefined, { signal: late });
  } catch (error) {
    if (!late.aborted) throw error;
  }
}
