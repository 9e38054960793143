import type { Generated } from "kysely";
import type { WithIdempotencyKeys } from "../../platform/idempotency.ts";
import type { OperationKind, OperationState, PaymentState, Problem } from "./payment.ts";

export interface Payments {
  /** UUIDv7. */
  id: string;
  order_id: string;
  user_id: string | null;
  currency: string;
  amount_minor: bigint;
  state: PaymentState;
  authorized_minor: Generated<bigint>;
  captured_minor: Generated<bigint>;
  refunding_minor: Generated<bigint>;
  refunded_minor: Generated<bigint>;
  provider: string;
  method_token: Generated<string>;
  provider_reference: Generated<string>;
  decline_code: Generated<string>;
  capture_failure: Generated<string>;
  redirect_url: Generated<string>;
  problem: Generated<Problem | "">;
  version: Generated<number>;
  /** When its order is to be looked at next. */
  check_at: Date;
  /** When the provider is to be asked how it stands, since it told of something; by the database's clock. */
  look_at: Generated<Date | null>;
  created_at: Date;
  updated_at: Date;
}

export interface PaymentOperations {
  /** The provider's key; of a refund the caller's id of it. */
  id: string;
  payment_id: string;
  kind: OperationKind;
  amount_minor: bigint;
  state: Generated<OperationState>;
  failure_code: Generated<string>;
  reason: Generated<string>;
  /** How often it was sent, or was about to be. */
  sends: Generated<number>;
  /** Looks and sends since it was asked for. */
  tries: Generated<number>;
  /** From here on its key lives. */
  first_sent_at: Date | null;
  /** Until when nobody else sends it. */
  sending_until: Date | null;
  /** When it is to be looked at next; by the database's clock, like all of these. */
  due_at: Date;
  created_at: Date;
  settled_at: Date | null;
}

export interface LedgerTransactions {
  /** UUIDv7. */
  id: string;
  kind: "CAPTURE" | "REFUND";
  payment_id: string;
  order_id: string;
  operation_id: string;
  occurred_at: Date;
}

export interface LedgerEntries {
  transaction_id: string;
  account: string;
  currency: string;
  /** Above 0 a debit, below 0 a credit. */
  amount_minor: bigint;
}

export interface PaymentMethods {
  /** UUIDv7. */
  id: string;
  user_id: string;
  provider: string;
  /** Empty once it is removed. */
  token: string;
  brand: string;
  last_digits: string;
  expiry_month: number;
  expiry_year: number;
  created_at: Date;
  removed_at: Date | null;
}

export interface WebhookEvents {
  provider: string;
  id: string;
  type: string;
  payment_id: string | null;
  received_at: Date;
}

export interface PaymentTables extends WithIdempotencyKeys {
  payments: Payments;
  payment_operations: PaymentOperations;
  ledger_transactions: LedgerTransactions;
  ledger_entries: LedgerEntries;
  payment_methods: PaymentMethods;
  webhook_events: WebhookEvents;
}
