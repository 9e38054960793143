import type { Generated, JSONColumnType } from "kysely";
import type { WithIdempotencyKeys } from "../../platform/idempotency.ts";
import type { Address, OrderState, OrderStep, RefundState } from "./order.ts";
import type { AdjustmentKind } from "./pricing.ts";
import type { Outcome, SagaKind, SagaStep } from "./saga.ts";

export interface OrderTables extends WithIdempotencyKeys {
  orders: OrdersTable;
  order_lines: OrderLinesTable;
  order_adjustments: OrderAdjustmentsTable;
  order_events: OrderEventsTable;
  order_refunds: OrderRefundsTable;
  sagas: SagasTable;
}

type Texts = Record<string, string>;

export interface OrdersTable {
  id: string;
  user_id: string;
  state: OrderState;
  reason: Generated<string>;
  reason_metadata: JSONColumnType<Texts>;
  currency: string;
  items_minor: bigint;
  total_minor: bigint;
  payment_method_token: string | null;
  payment_method_id: string | null;
  shipping_address: JSONColumnType<Address> | null;
  billing_address: JSONColumnType<Address> | null;
  next_action: JSONColumnType<{ redirectUrl: string }> | null;
  expires_at: Date | null;
  cancel_requested: Generated<boolean>;
  refunds_minor: Generated<bigint>;
  version: Generated<number>;
  created_at: Date;
  updated_at: Date;
}

export interface OrderLinesTable {
  order_id: string;
  number: number;
  sku: string;
  product_id: string;
  title: string;
  options: JSONColumnType<Texts>;
  unit_minor: bigint;
  quantity: number;
  amount_minor: bigint;
  tax_category: string;
}

export interface OrderAdjustmentsTable {
  order_id: string;
  number: number;
  kind: AdjustmentKind;
  line_number: number;
  label: string;
  amount_minor: bigint;
  included: boolean;
  source: string;
}

export interface OrderEventsTable {
  order_id: string;
  position: bigint;
  state: OrderState;
  reason: string;
  reason_metadata: JSONColumnType<Texts>;
  occurred_at: Date;
  step: OrderStep | null;
  message: Generated<string>;
}

export interface OrderRefundsTable {
  id: string;
  order_id: string;
  amount_minor: bigint;
  state: RefundState;
  reason: string;
  /** Amounts as text. */
  lines: JSONColumnType<readonly RefundLineJson[]>;
  restock: boolean;
  failure_code: Generated<string>;
  created_at: Date;
  settled_at: Date | null;
}

export interface RefundLineJson {
  readonly number: number;
  readonly quantity: number;
  readonly minor: string;
}

export interface SagasTable {
  id: string;
  order_id: string;
  kind: SagaKind;
  version: number;
  step: SagaStep;
  outcome: JSONColumnType<Outcome> | null;
  attempts: Generated<number>;
  step_since: Date;
  due_at: Date;
  wakes: Generated<number>;
  lease_token: Generated<bigint>;
  leased_until: Date | null;
  created_at: Date;
  finished_at: Date | null;
}
