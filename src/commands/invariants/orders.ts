import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "pg";
import type { Databases, Invariant, Violation } from "./check.ts";

/** Orders that are looked at together. */
const BATCH = 1_000;
/** A shop goes on while it is looked at: what seems broken is looked at again, so often, after so many milliseconds. */
const LOOKS = 4;
const AGAIN_MS = 500;

interface OrderFacts {
  readonly id: string;
  readonly state: string;
  readonly currency: string;
  readonly total: bigint;
  /** Refunds that were paid. */
  readonly refunded: bigint;
  /** Ordered units by SKU. */
  readonly units: ReadonlyMap<string, bigint>;
  /** Those of them that came back with refunds. */
  readonly restocked: ReadonlyMap<string, bigint>;
  /** Of the last change; undone work moves it. */
  readonly version: string;
}

interface ReservationFacts {
  readonly state: string;
  readonly lines: readonly {
    readonly sku: string;
    readonly quantity: bigint;
    readonly returned: bigint;
    readonly tracked: boolean;
  }[];
  /** Units sold less those that came back, by SKU, as the movements say. */
  readonly moved: ReadonlyMap<string, bigint>;
}

interface PaymentFacts {
  readonly id: string;
  readonly state: string;
  readonly currency: string;
  readonly captured: bigint;
  readonly refunded: bigint;
}

interface Facts {
  readonly order: OrderFacts;
  readonly reservation: ReservationFacts | undefined;
  readonly payment: PaymentFacts | undefined;
}

type Rule = (facts: Facts) => string | undefined;

const isSold = ({ state }: OrderFacts) => ["CONFIRMED", "FULFILLED", "DELIVERED"].includes(state);
const isOff = ({ state }: OrderFacts) => state === "REJECTED" || state === "CANCELLED";

const soldUnits: Rule = ({ order, reservation }) => {
  const lines = reservation?.lines.filter(({ tracked }) => tracked) ?? [];
  const moved = reservation?.moved ?? new Map<string, bigint>();
  for (const sku of new Set([...moved.keys(), ...lines.map((line) => line.sku)])) {
    const out = moved.get(sku) ?? 0n;
    const isTracked = lines.some((line) => line.sku === sku);
    const wanted = isSold(order) && isTracked ? (order.units.get(sku) ?? 0n) - (order.restocked.get(sku) ?? 0n) : 0n;
    if (out !== wanted)
      return `${order.state}, ${String(out)} of ${sku} are out of the stock, ${String(wanted)} should be`;
  }
  return undefined;
};

const paidOnce: Rule = ({ order, payment }) => {
  const { captured = 0n, refunded = 0n } = payment ?? {};
  if (payment && captured > 0n && payment.currency !== order.currency)
    return `paid in ${payment.currency}, not ${order.currency}`;
  if (isOff(order) && captured !== refunded) return `${order.state}, and ${String(captured - refunded)} of it are kept`;
  if (isSold(order) && captured - refunded !== order.total - order.refunded) {
    return `total ${String(order.total)}, refunds ${String(order.refunded)}; captured ${String(captured)}, paid back ${String(refunded)}`;
  }
  return undefined;
};

const notForFree: Rule = ({ order, payment, reservation }) => {
  if (!isSold(order)) return undefined;
  if (order.total > 0n && payment?.captured !== order.total)
    return `total ${String(order.total)}, captured ${String(payment?.captured ?? 0n)}`;
  if (reservation?.state !== "COMMITTED") return `its reservation is ${reservation?.state ?? "missing"}`;
  for (const [sku, units] of order.units) {
    const taken = reservation.lines
      .filter((line) => line.sku === sku)
      .reduce((sum, { quantity }) => sum + quantity, 0n);
    if (taken !== units) return `ordered ${String(units)} of ${sku}, taken ${String(taken)}`;
  }
  return undefined;
};

const nothingKept: Rule = ({ order, payment, reservation }) => {
  if (!isOff(order)) return undefined;
  if (reservation?.state === "HELD") return `${order.state}, and its stock is held`;
  if (reservation?.state === "COMMITTED" && reservation.lines.some(({ quantity, returned }) => returned < quantity)) {
    return `${order.state}, and its stock is taken`;
  }
  if (payment && ["AUTHORIZED", "REQUIRES_ACTION", "PENDING"].includes(payment.state)) {
    return `${order.state}, and its payment is ${payment.state}`;
  }
  return undefined;
};

/** What holds of each order at rest, across the roles that it concerns. */
export const orderInvariants: readonly Invariant[] = [
  ofOrders("I2", "what an order has taken out of the stock is what it has sold", ["order", "inventory"], soldUnits),
  ofOrders(
    "I3",
    "what was paid for an order is its total less its refunds, and nothing where it came to nothing",
    ["order", "payment"],
    paidOnce,
  ),
  ofOrders(
    "I4",
    "no order is confirmed without its payment and its stock",
    ["order", "payment", "inventory"],
    notForFree,
  ),
  ofOrders(
    "I14",
    "an order that came to nothing holds no stock and no money",
    ["order", "payment", "inventory"],
    nothingKept,
  ),
  {
    invariant: "I3",
    promise: "each payment and each reservation belongs to an order",
    needs: ["order"],
    async check(databases) {
      const order = need(databases, "order");
      let checked = 0;
      const violations: Violation[] = [];
      const owned = [
        ["payment", "select order_id as id from payments where captured_minor > 0 and order_id > $1 order by order_id"],
        [
          "inventory",
          "select order_id as id from reservations where state in ('HELD', 'COMMITTED') and order_id > $1 order by order_id",
        ],
      ] as const;
      for (const [role, statement] of owned) {
        const client = databases[role];
        if (!client) continue;
        for await (const ids of pages(client, statement)) {
          checked += ids.length;
          const { rows } = await order.query<{ id: string }>(
            "select id from unnest($1::uuid[]) as id where not exists (select from orders where orders.id = id.id)",
            [ids],
          );
          violations.push(
            ...rows.map(({ id }) => ({ about: `${role} of order ${id}`, problem: "there is no such order" })),
          );
        }
      }
      return { checked, violations };
    },
  },
];

function ofOrders(invariant: string, promise: string, needs: readonly string[], rule: Rule): Invariant {
  return {
    invariant,
    promise,
    needs,
    async check(databases) {
      const order = need(databases, "order");
      let checked = 0;
      const violations: Violation[] = [];
      const statement = `
        select id from orders where id > $1 and not cancel_requested
          and not exists (select from sagas where order_id = orders.id and finished_at is null) order by id`;
      for await (const ids of pages(order, statement)) {
        checked += ids.length;
        violations.push(...(await broken(databases, ids, rule)));
      }
      return { checked, violations };
    },
  };
}

/** The orders that break a rule each time that they are looked at, and do not change meanwhile. */
async function broken(databases: Databases, ids: readonly string[], rule: Rule): Promise<Violation[]> {
  let suspects = await judge(databases, ids, rule);
  for (let look = 1; look < LOOKS && suspects.length > 0; look += 1) {
    await delay(AGAIN_MS);
    const before = new Map(suspects.map(({ order, problem }) => [order.id, { version: order.version, problem }]));
    const again = await judge(databases, [...before.keys()], rule);
    suspects = again.filter(({ order }) => before.get(order.id)?.version === order.version);
  }
  return suspects.map(({ order, problem }) => ({ about: `order ${order.id}`, problem }));
}

async function judge(databases: Databases, ids: readonly string[], rule: Rule) {
  // The order first: what follows is then as it says, or later.
  const orders = await readOrders(need(databases, "order"), ids);
  const [reservations, payments] = await Promise.all([
    readReservations(databases["inventory"], ids),
    readPayments(databases["payment"], ids),
  ]);
  return orders.flatMap((order) => {
    const problem = rule({ order, reservation: reservations.get(order.id), payment: payments.get(order.id) });
    return problem === undefined ? [] : [{ order, problem }];
  });
}

async function readOrders(client: Client, ids: readonly string[]): Promise<OrderFacts[]> {
  const { rows } = await client.query<
    Record<"id" | "state" | "currency" | "total" | "refunded" | "version", string> & {
      units: Record<string, string>;
      restocked: Record<string, string> | null;
    }
  >(
    `select id, state, currency, total_minor as total,
       (select coalesce(sum(amount_minor), 0) from order_refunds
        where order_id = orders.id and order_refunds.state = 'SUCCEEDED') as refunded,
       (select json_object_agg(sku, units) from (
          select sku, sum(quantity)::text as units from order_lines where order_id = orders.id group by sku
        ) as by_sku) as units,
       (select json_object_agg(sku, units) from (
          select sku, sum((line ->> 'quantity')::bigint)::text as units
          from order_refunds, jsonb_array_elements(order_refunds.lines) as line
          join order_lines on order_lines.order_id = orders.id and order_lines.number = (line ->> 'number')::int
          where order_refunds.order_id = orders.id and restock and order_refunds.state = 'SUCCEEDED' group by sku
        ) as by_sku) as restocked,
       version || '.' || (select count(*) from order_events where order_id = orders.id) as version
     from orders where id = any ($1::uuid[])
       and not exists (select from sagas where order_id = orders.id and finished_at is null)`,
    [ids],
  );
  return rows.map(({ total, refunded, units, restocked, ...row }) => ({
    ...row,
    total: BigInt(total),
    refunded: BigInt(refunded),
    units: unitsOf(units),
    restocked: unitsOf(restocked ?? {}),
  }));
}

function unitsOf(bySku: Readonly<Record<string, string>>): Map<string, bigint> {
  return new Map(Object.entries(bySku).map(([sku, count]) => [sku, BigInt(count)]));
}

async function readReservations(
  client: Client | undefined,
  ids: readonly string[],
): Promise<Map<string, ReservationFacts>> {
  if (!client) return new Map();
  const { rows } = await client.query<{
    order_id: string;
    state: string;
    lines: { sku: string; quantity: string; returned: string; tracked: boolean }[] | null;
    moved: Record<string, string> | null;
  }>(
    `select order_id, state,
       (select json_agg(json_build_object('sku', sku, 'quantity', quantity::text, 'returned', returned::text, 'tracked', tracked))
        from reservation_lines where reservation_lines.order_id = reservations.order_id) as lines,
       (select json_object_agg(sku, units) from (
          select sku, sum(-delta)::text as units from stock_movements
          where stock_movements.order_id = reservations.order_id group by sku
        ) as by_sku) as moved
     from reservations where order_id = any ($1::uuid[])`,
    [ids],
  );
  return new Map(
    rows.map(({ order_id: id, state, lines, moved }) => [
      id,
      {
        state,
        lines: (lines ?? []).map(({ quantity, returned, ...line }) => ({
          ...line,
          quantity: BigInt(quantity),
          returned: BigInt(returned),
        })),
        moved: unitsOf(moved ?? {}),
      },
    ]),
  );
}

async function readPayments(client: Client | undefined, ids: readonly string[]): Promise<Map<string, PaymentFacts>> {
  if (!client) return new Map();
  const { rows } = await client.query<
    Record<"order_id" | "id" | "state" | "currency" | "captured" | "refunded", string>
  >(
    `select order_id, id, state, currency, captured_minor as captured, refunded_minor as refunded
     from payments where order_id = any ($1::uuid[])`,
    [ids],
  );
  return new Map(
    rows.map(({ order_id: orderId, captured, refunded, ...row }) => [
      orderId,
      { ...row, captured: BigInt(captured), refunded: BigInt(refunded) },
    ]),
  );
}

/** Ids after ids, a batch at a time. */
export async function* pages(client: Client, statement: string): AsyncIterable<readonly string[]> {
  let after = "00000000-0000-0000-0000-000000000000";
  for (;;) {
    const { rows } = await client.query<{ id: string }>(`${statement} limit ${String(BATCH)}`, [after]);
    const last = rows.at(-1);
    if (!last) return;
    yield rows.map(({ id }) => id);
    after = last.id;
  }
}

export function need(databases: Databases, role: string): Client {
  const client = databases[role];
  if (!client) throw new Error(`the database of ${role} is not there`);
  return client;
}
