import type { OrderState } from "../../roles/order/order.ts";
import { mayBecome } from "../../roles/order/order.ts";
import type { Invariant, RowCheck } from "./check.ts";
import { ofRows, ofRowsThatStay } from "./check.ts";

const states: readonly OrderState[] = [
  "PENDING",
  "AWAITING_PAYMENT",
  "CONFIRMED",
  "FULFILLED",
  "DELIVERED",
  "REJECTED",
  "CANCELLED",
];
const allowed = states.flatMap((from) =>
  states.filter((to) => from === to || mayBecome(from, to)).map((to) => `${from}>${to}`),
);

const stock: RowCheck = {
  role: "inventory",
  count: "select from stock_levels",
  violations: `
    with held as (
      select sku, location, sum(quantity) as units from reservation_lines join reservations using (order_id)
      where state = 'HELD' and tracked group by sku, location
    ),
    moved as (select sku, location, sum(delta) as units from stock_movements group by sku, location)
    select 'stock ' || sku || ' at ' || location as about,
      format('on hand %s, movements %s; reserved %s, held %s; backorder limit %s', on_hand, coalesce(moved.units, 0),
        reserved, coalesce(held.units, 0), backorder_limit) as problem
    from stock_levels left join held using (sku, location) left join moved using (sku, location)
    where reserved < 0 or reserved > on_hand + backorder_limit
      or reserved <> coalesce(held.units, 0) or on_hand <> coalesce(moved.units, 0)`,
};

const ledger: RowCheck = {
  role: "payment",
  count: "select from ledger_transactions",
  violations: `
    select 'ledger transaction ' || transaction_id as about,
      format('sums to %s %s', sum(amount_minor), currency) as problem
    from ledger_entries group by transaction_id, currency having sum(amount_minor) <> 0`,
};

const books: RowCheck = {
  role: "payment",
  count: "select from payments",
  violations: `
    with booked as (
      select payment_id,
        coalesce(sum(-amount_minor) filter (where kind = 'CAPTURE'), 0) as captured,
        coalesce(sum(amount_minor) filter (where kind = 'REFUND'), 0) as refunded
      from ledger_transactions join ledger_entries on transaction_id = id
      where account = 'sales' group by payment_id
    ),
    refunds as (
      select payment_id,
        sum(amount_minor) filter (where state = 'PENDING') as pending,
        sum(amount_minor) filter (where state = 'SUCCEEDED') as paid
      from payment_operations where kind = 'REFUND' group by payment_id
    )
    select 'payment ' || id as about,
      format('captured %s, booked %s; refunded %s, booked %s, by refunds %s; refunding %s, by refunds %s',
        captured_minor, coalesce(captured, 0), refunded_minor, coalesce(refunded, 0), coalesce(paid, 0),
        refunding_minor, coalesce(pending, 0)) as problem
    from payments left join booked on booked.payment_id = id left join refunds on refunds.payment_id = id
    where captured_minor <> coalesce(captured, 0) or refunded_minor <> coalesce(refunded, 0)
      or refunded_minor <> coalesce(paid, 0) or refunding_minor <> coalesce(pending, 0)
      or captured_minor > authorized_minor or refunded_minor + refunding_minor > captured_minor`,
};

const totals: RowCheck = {
  role: "order",
  count: "select from orders",
  violations: `
    with lines as (select order_id, sum(amount_minor) as amount from order_lines group by order_id),
    added as (
      select order_id, sum(amount_minor) as amount from order_adjustments where not included group by order_id
    )
    select 'order ' || id as about,
      format('total %s, items %s, lines %s, adjustments %s', total_minor, items_minor, coalesce(lines.amount, 0),
        coalesce(added.amount, 0)) as problem
    from orders left join lines on lines.order_id = id left join added on added.order_id = id
    where items_minor <> coalesce(lines.amount, 0) or total_minor <> items_minor + coalesce(added.amount, 0)`,
};

const histories: RowCheck = {
  role: "order",
  count: "select from order_events",
  violations: `
    with steps as (
      select order_id, position, state, lag(state) over each_order as before, lag(position) over each_order as previous,
        lead(state) over each_order as next
      from order_events window each_order as (partition by order_id order by position)
    )
    select 'order ' || orders.id as about,
      format('step %s is %s after %s; the order is %s', steps.position, steps.state, coalesce(steps.before, 'nothing'),
        orders.state) as problem
    from orders left join steps on order_id = id
    where steps.position is null or steps.position <> coalesce(previous, 0) + 1
      or (before is null and steps.state <> 'PENDING')
      or (before is not null and not (before || '>' || steps.state = any ($1::text[])))
      or (next is null and steps.state <> orders.state)`,
  parameters: [allowed],
};

const refundSums: RowCheck = {
  role: "order",
  count: "select from order_refunds",
  violations: `
    select 'order ' || orders.id as about,
      format('refunds of %s, noted %s, of a total of %s', sum(amount_minor), refunds_minor, total_minor) as problem
    from orders join order_refunds on order_id = orders.id and order_refunds.state <> 'FAILED'
    group by orders.id having sum(amount_minor) > total_minor or sum(amount_minor) <> refunds_minor`,
};

const liveTokens: RowCheck = {
  role: "user",
  count: "select from sessions",
  violations: `
    select 'session ' || session_id as about, format('%s live refresh tokens', count(*)) as problem
    from refresh_tokens where used_at is null group by session_id having count(*) > 1`,
};

const sagas = (late: string): RowCheck => ({
  role: "order",
  count: "select from sagas where finished_at is null",
  violations: `
    select 'order ' || order_id as about, format('its %s is at %s since %s', kind, step, step_since) as problem
    from sagas join orders on orders.id = order_id
    where finished_at is null and greatest(step_since, case when cancel_requested then orders.updated_at end) < ${late}
      and not (step = 'AUTHORIZE' and state = 'AWAITING_PAYMENT' and not cancel_requested
        and coalesce(expires_at > ${late}, false))`,
});

const forgotten = (late: string): RowCheck => ({
  role: "order",
  count: "select from orders where state in ('PENDING', 'AWAITING_PAYMENT')",
  violations: `
    select 'order ' || id as about, format('%s, and nobody carries it out', state) as problem from orders
    where (state in ('PENDING', 'AWAITING_PAYMENT') or cancel_requested) and updated_at < ${late}
      and not exists (select from sagas where order_id = orders.id and finished_at is null)`,
});

const holds = (late: string): RowCheck => ({
  role: "inventory",
  count: "select from reservations where state = 'HELD'",
  violations: `
    select 'reservation of order ' || order_id as about, format('held, and over since %s', expires_at) as problem
    from reservations where state = 'HELD' and expires_at < ${late}`,
});

const operations = (late: string): RowCheck => ({
  role: "payment",
  count: "select from payment_operations where state = 'PENDING'",
  violations: `
    select 'payment ' || payment_id as about,
      format('%s not settled since %s', kind, payment_operations.created_at) as problem
    from payment_operations join payments on payments.id = payment_id
    where payment_operations.state = 'PENDING' and payment_operations.created_at < ${late}
      and payments.state <> 'REQUIRES_ACTION' and not (kind = 'AUTHORIZE' and payments.state = 'VOIDED')`,
});

const unpublished = (late: string, role: string): RowCheck => ({
  role,
  count: "select from outbox where published_at is null",
  violations: `
    select '${role} event ' || id as about, format('%s not published since %s', type, occurred_at) as problem
    from outbox where published_at is null and occurred_at < ${late}`,
});

const idle = (late: string, role: string): RowCheck => ({
  role,
  count: "select from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'",
  violations: `
    select '${role} session ' || pid as about, format('idle in a transaction since %s', state_change) as problem
    from pg_stat_activity
    where datname = current_database() and state like 'idle in transaction%' and state_change < ${late}`,
});

export interface RowInvariantOptions {
  /** The roles that have a database. */
  readonly owners: readonly string[];
  /** Those of them that emit events. */
  readonly emitters: readonly string[];
  /** Seconds after which work that is not done counts as forgotten. */
  readonly lateSeconds: number;
}

/** The promises that can be seen in one database at a time. */
export function rowInvariants({ owners, emitters, lateSeconds }: RowInvariantOptions): readonly Invariant[] {
  const late = `clock_timestamp() - interval '${String(lateSeconds)} s'`;
  return [
    ofRows("I1", "stock on hand is the sum of its movements, what is reserved is what orders hold", [stock]),
    ofRows("I6", "no money is created: the ledger sums to zero, orders sum to their totals", [ledger, books, totals]),
    ofRowsThatStay("I12", `nothing is left undone for more than ${String(lateSeconds)} s`, [
      sagas(late),
      forgotten(late),
      holds(late),
      operations(late),
      ...emitters.map((role) => unpublished(late, role)),
      ...owners.map((role) => idle(late, role)),
    ]),
    ofRows("I13", "an order's history has only allowed steps, no gaps, and ends in its state", [histories]),
    ofRows("I15", "refunds are within what was paid, and a session has one live token", [refundSums, liveTokens]),
  ];
}
