import type { Generated, JSONColumnType } from "kysely";
import type { WithIdempotencyKeys } from "../../platform/idempotency.ts";
import type { Address, OrderState } from "./order.ts";
import type { AdjustmentKind } from "./pricing.ts";

export interface OrderTables extends WithIdempotencyKeys {
  orders: OrdersTable;
  order_lines: OrderLinesTable;
  order_adjustments: OrderAdjustmentsTable;
  order_events: OrderEventsTable;
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
  shipping_address: JSONColumnType<Address> | null;
  billing_address: JSONColumnType<Address> | null;
  next_action: JSONColumnType<{ redirectUrl: string }> | null;
  expires_at: Date | null;
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
}
