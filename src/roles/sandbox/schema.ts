import type { Generated } from "kysely";
import type { WithIdempotencyKeys } from "../../platform/idempotency.ts";
import type { PaymentState } from "./payment.ts";

export interface SandboxTables extends WithIdempotencyKeys {
  payments: PaymentsTable;
  refunds: RefundsTable;
  journal: JournalTable;
  webhooks: WebhooksTable;
}

export interface PaymentsTable {
  /** The id by which the provider's clients know it. */
  reference: string;
  position: Generated<bigint>;
  /** The client's own ids; told apart by nobody here. */
  payment_id: string;
  order_id: string;
  currency: string;
  amount_minor: bigint;
  captured_minor: Generated<bigint>;
  state: PaymentState;
  decline_code: Generated<string>;
  method_token: string;
  return_url: string;
  created_at: Date;
}

export interface RefundsTable {
  /** Of the call that asked for it. */
  key: string;
  reference: string;
  amount_minor: bigint;
  state: "pending" | "succeeded" | "failed";
  failure_code: Generated<string>;
  /** When a pending one is paid. */
  due_at: Date | null;
  created_at: Date;
}

export interface JournalTable {
  position: Generated<bigint>;
  kind: "authorization" | "decline" | "capture" | "void" | "refund";
  /** Of the call; empty where the buyer did it on the page. */
  key: string;
  reference: string;
  amount_minor: bigint;
  occurred_at: Date;
}

export interface WebhooksTable {
  position: Generated<bigint>;
  /** One that is sent twice has two rows with the same. */
  event_id: string;
  type: string;
  payment_id: string;
  occurred_at: Date;
  due_at: Date;
  attempts: Generated<number>;
  delivered_at: Date | null;
}
