import { createHash } from "node:crypto";
import type { Kysely, Transaction } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import { transaction } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import type { Operation, Script } from "./payment.ts";
import { authorized, refusalOf, scriptOf } from "./payment.ts";
import type { JournalTable, SandboxTables } from "./schema.ts";
import type { SandboxPayment } from "./store.ts";
import {
  appendJournal,
  claimKey,
  findPayment,
  insertPayment,
  insertRefund,
  insertWebhooks,
  lockPayment,
  payDueRefunds,
  updatePayment,
} from "./store.ts";

/** Milliseconds that a webhook waits: one that is late, and one that is sent before the answer. */
const DELAY_MS = { late: 10_000, early: 5_000, twice: 0 } as const;

/** The provider says no, and does nothing. */
export class Refused extends Error {
  override readonly name = "Refused";
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export interface ChangeContext {
  readonly db: Kysely<SandboxTables>;
  readonly clock: Clock;
  /** Has the events that are due be told. */
  readonly wake: () => void;
}

export interface NewAuthorization {
  readonly paymentId: string;
  readonly orderId: string;
  readonly currency: string;
  readonly minor: bigint;
  readonly methodToken: string;
  readonly returnUrl: string;
}

/** What became of a call. */
export interface Done {
  readonly payment: SandboxPayment;
  readonly script: Script;
  /** The call was carried out before; this is how the payment stands. */
  readonly replayed: boolean;
}

/**
 * Holds an amount, once per key.
 * @throws Refused unknown_token, key_reused
 */
export async function authorizePayment(
  { db, clock, wake }: ChangeContext,
  key: string,
  request: NewAuthorization,
): Promise<Done> {
  const script = scriptOf(request.methodToken);
  if (!script) throw new Refused(402, "unknown_token", "There is no such token.");
  const done = await transaction(db, async (trx) => {
    const claim = await claimOnce(trx, key, ["authorize", ...Object.values(request).map(String)], newReference());
    if (claim.isFirst) {
      const state = authorized(script);
      const now = clock.now();
      await insertPayment(trx, {
        reference: claim.reference,
        payment_id: request.paymentId,
        order_id: request.orderId,
        currency: request.currency,
        amount_minor: request.minor,
        state,
        decline_code: script.declineCode ?? "",
        method_token: request.methodToken,
        return_url: request.returnUrl,
        created_at: now,
      });
      if (state !== "requires_action") {
        const kind = state === "declined" ? "decline" : "authorization";
        await note(trx, { kind, key, reference: claim.reference, amount_minor: request.minor, occurred_at: now });
      }
      await tell(trx, script, request.paymentId, `payment.${state}`, now);
    }
    return { payment: await present(trx, claim.reference), script, replayed: !claim.isFirst };
  });
  wake();
  return done;
}

/**
 * Takes, gives back or pays back, once per key.
 * @throws Refused not_found, not_authorized, not_captured, amount_too_large, key_reused, and what the token's script says
 */
export async function changePayment(
  { db, clock, wake }: ChangeContext,
  operation: Exclude<Operation, "authorize">,
  key: string,
  reference: string,
  minor: bigint,
): Promise<Done> {
  const done = await transaction(db, async (trx) => {
    const payment = await lockPayment(trx, reference);
    if (!payment) throw new Refused(404, "not_found", "There is no such payment.");
    const script = scriptOf(payment.method_token) ?? {};
    const claim = await claimOnce(trx, key, [operation, reference, String(minor)], reference);
    if (!claim.isFirst) return { payment, script, replayed: true };
    const code = script.refuses?.operation === operation ? script.refuses.code : refusalIn(payment, operation, minor);
    if (code !== undefined) throw new Refused(402, code, `The provider refuses this ${operation}.`);
    const now = clock.now();
    const entry = { key, reference, occurred_at: now };
    if (operation === "capture") {
      await updatePayment(trx, reference, { state: "captured", captured_minor: minor });
      await note(trx, { ...entry, kind: "capture", amount_minor: minor });
      await tell(trx, script, payment.payment_id, "payment.captured", now);
    } else if (operation === "void") {
      await updatePayment(trx, reference, { state: "voided" });
      await note(trx, { ...entry, kind: "void", amount_minor: payment.amount_minor });
      await tell(trx, script, payment.payment_id, "payment.voided", now);
    } else {
      const pendingMs = script.refundMs ?? 0;
      await insertRefund(trx, { key, reference, amount_minor: minor, created_at: now }, pendingMs);
      if (pendingMs === 0) await noteRefund(trx, script, { ...entry, paymentId: payment.payment_id, minor });
    }
    return { payment: await present(trx, reference), script, replayed: false };
  });
  wake();
  return done;
}

/** What the buyer decides on the page; undefined where there is nothing to decide any more. */
export async function decideAction(
  { db, clock, wake }: ChangeContext,
  reference: string,
  approves: boolean,
): Promise<SandboxPayment | undefined> {
  const decided = await transaction(db, async (trx) => {
    const payment = await lockPayment(trx, reference);
    if (payment?.state !== "requires_action") return undefined;
    const now = clock.now();
    const state = approves ? "authorized" : "declined";
    await updatePayment(trx, reference, { state, decline_code: approves ? "" : "action_declined" });
    await note(trx, {
      kind: approves ? "authorization" : "decline",
      key: "",
      reference,
      amount_minor: payment.amount_minor,
      occurred_at: now,
    });
    await tell(trx, scriptOf(payment.method_token) ?? {}, payment.payment_id, `payment.${state}`, now);
    return payment;
  });
  wake();
  return decided;
}

/** Pays the pending refunds whose time has come. */
export function settleRefunds({ db, clock }: Pick<ChangeContext, "db" | "clock">): Promise<void> {
  return transaction(db, async (trx) => {
    const now = clock.now();
    for (const { key, reference, amount_minor: minor } of await payDueRefunds(trx, now)) {
      const payment = await present(trx, reference);
      const script = scriptOf(payment.method_token) ?? {};
      await noteRefund(trx, script, { key, reference, occurred_at: now, paymentId: payment.payment_id, minor });
    }
  });
}

interface PaidRefund extends Pick<JournalTable, "key" | "reference" | "occurred_at"> {
  readonly paymentId: string;
  readonly minor: bigint;
}

async function noteRefund(
  trx: Transaction<SandboxTables>,
  script: Script,
  { key, reference, occurred_at, paymentId, minor }: PaidRefund,
): Promise<void> {
  await note(trx, { kind: "refund", key, reference, amount_minor: minor, occurred_at });
  await tell(trx, script, paymentId, "payment.refunded", occurred_at);
}

const note = appendJournal;

/** Notes the event that a webhook tells, as the token's script says. */
async function tell(
  trx: Transaction<SandboxTables>,
  { webhooks }: Script,
  paymentId: string,
  type: string,
  now: Date,
): Promise<void> {
  if (webhooks === "never") return;
  const event = { event_id: newId(), type, payment_id: paymentId, occurred_at: now };
  await insertWebhooks(trx, event, webhooks ? DELAY_MS[webhooks] : 0, webhooks === "twice" ? 2 : 1);
}

async function claimOnce(trx: Transaction<SandboxTables>, key: string, request: readonly string[], reference: string) {
  const hash = createHash("sha256").update(JSON.stringify(request)).digest();
  const claim = await claimKey(trx, key, hash, reference);
  if (!claim.hash.equals(hash)) throw new Refused(409, "key_reused", "The key was used with another request.");
  return claim;
}

function refusalIn(payment: SandboxPayment, operation: Exclude<Operation, "authorize">, minor: bigint) {
  const refunded = payment.refunds.filter(({ state }) => state !== "failed").map((refund) => refund.amount_minor);
  return refusalOf(
    operation,
    {
      state: payment.state,
      amountMinor: payment.amount_minor,
      capturedMinor: payment.captured_minor,
      refundedMinor: refunded.reduce((sum, amount) => sum + amount, 0n),
    },
    minor,
  );
}

async function present(trx: Transaction<SandboxTables>, reference: string): Promise<SandboxPayment> {
  const payment = await findPayment(trx, reference);
  if (!payment) throw new Error(`the payment ${reference} is gone`);
  return payment;
}

function newReference(): string {
  return `pay_${newId()}`;
}
