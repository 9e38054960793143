import type { Client } from "@connectrpc/connect";
import type { Kysely, Selectable } from "kysely";
import { sql } from "kysely";
import { expect } from "vitest";
import { OrderService, OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import type { Payment, Refund } from "#gen/commerce/payment/v1/payment_pb.ts";
import { PaymentService } from "#gen/commerce/payment/v1/payment_pb.ts";
import { newId } from "../../src/platform/id.ts";
import type { RoleContext } from "../../src/platform/role.ts";
import { paymentRole } from "../../src/roles/payment/index.ts";
import type { Payments, PaymentTables } from "../../src/roles/payment/schema.ts";
import { until } from "./conditions.ts";
import type { ScriptedProvider } from "./payment-provider.ts";
import { signature, startScriptedProvider } from "./payment-provider.ts";
import type { TestRole } from "./role.ts";
import { peer, present, startTestRole } from "./role.ts";

/** Short enough for tests that wait for a timeout, long enough for a busy machine. */
const patience = { sendMs: 1_500, lookMs: 1_500, leaseMs: 3_500 };

export type PaymentClient = Client<typeof PaymentService>;

export interface Buying {
  readonly orderId: string;
  readonly userId: string;
}

export interface Wish {
  readonly amount?: ReturnType<typeof euros>;
  readonly paymentMethodToken?: string;
  readonly paymentMethodId?: string;
}

/** The role on a database of its own, with a provider whose calls can go wrong. */
export interface PaymentTest extends AsyncDisposable {
  readonly role: TestRole;
  readonly provider: ScriptedProvider;
  readonly db: Kysely<PaymentTables>;
  /** As the order role. */
  readonly client: PaymentClient;
  /** As an admin. */
  readonly admin: PaymentClient;
  /** The states of the orders that there are, as the order role tells them. */
  readonly orders: Map<string, OrderState>;
  /** Of the first instance. */
  readonly context: RoleContext;
  /** A second instance. */
  replica(): Promise<PaymentClient>;
  authorize(order: Buying, wish?: Wish): Promise<Payment>;
  /** An order that is authorized and captured. */
  paid(minor?: bigint): Promise<Buying & { readonly payment: Payment }>;
  refund(order: Buying, minor: bigint, refundId?: string): Promise<Refund>;
  get(order: Buying): Promise<Payment>;
  /** Posts a webhook; answers the status. */
  webhook(body: Readonly<Record<string, string>>, options?: WebhookOptions): Promise<number>;
  /** Makes the open operations of an order older, and due. */
  age(order: Buying, hours: number): Promise<void>;
  ageMs(order: Buying, ms: number): Promise<void>;
  /** Resolves once the outcome of every operation is known. */
  settled(): Promise<void>;
}

export interface WebhookOptions {
  readonly at?: Date;
  readonly key?: Buffer;
  readonly header?: string;
}

export const euros = (minor: bigint) => ({ currencyCode: "EUR", amountMinor: minor });
export const anOrder = (): Buying => ({ orderId: newId(), userId: newId() });

export async function startPaymentTest(): Promise<PaymentTest> {
  const contexts: RoleContext[] = [];
  const definition = paymentRole(patience);
  const noting: typeof definition = {
    ...definition,
    start(context) {
      contexts.push(context);
      return definition.start(context);
    },
  };
  const first = () => present(contexts[0]);
  const provider = await startScriptedProvider(() => first().sharedKey("sandbox").toString("hex"));
  const orders = new Map<string, OrderState>();
  const role = await startTestRole("payment", noting, {
    config: { PAYMENT_PROVIDER: "sandbox" },
    peers: [orderPeerOf(orders)],
    routesUrl: () => provider.url,
  });
  const db = role.database<PaymentTables>();
  const client = role.client(PaymentService, { role: "order" });

  const test: PaymentTest = {
    role,
    provider,
    db,
    client,
    admin: role.client(PaymentService),
    orders,
    get context() {
      return first();
    },
    replica: async () => (await role.replica()).client(PaymentService, { role: "order" }),
    async authorize({ orderId, userId }, wish = {}) {
      orders.set(orderId, OrderState.PENDING);
      const { payment } = await client.authorizePayment({
        orderId,
        userId,
        amount: euros(1290n),
        paymentMethodToken: "tok_approved",
        ...wish,
      });
      return present(payment);
    },
    async paid(minor = 1290n) {
      const order = anOrder();
      await test.authorize(order, { amount: euros(minor) });
      const { payment } = await client.capturePayment(order);
      return { ...order, payment: present(payment) };
    },
    async refund({ orderId }, minor, refundId = newId()) {
      const { refund } = await client.refundPayment({ orderId, refundId, amount: euros(minor), reason: "as agreed" });
      return present(refund);
    },
    async get({ orderId }) {
      return present((await test.admin.getPayment({ orderId })).payment);
    },
    async webhook(body, { at = role.clock.now(), key = first().sharedKey("sandbox webhooks"), header } = {}) {
      const route = present(role.running.routes?.find(({ path }) => path === "/webhooks/:provider"));
      const text = JSON.stringify(body);
      const { status } = await route.handle({
        method: "POST",
        path: "/webhooks/sandbox",
        params: { provider: "sandbox" },
        query: new URLSearchParams(),
        headers: { "sandbox-signature": header ?? signature(key, text, at) },
        body: Buffer.from(text),
        requestId: newId(),
        signal: new AbortController().signal,
        log: first().log,
      });
      return status;
    },
    age: (order, hours) => test.ageMs(order, hours * 3_600_000),
    async ageMs({ orderId }, ms) {
      await sql`
        update payment_operations as operation
        set first_sent_at = first_sent_at - make_interval(secs => ${ms / 1_000}), due_at = clock_timestamp()
        from payments where payments.id = payment_id and order_id = ${orderId} and operation.state = 'PENDING'
      `.execute(db);
    },
    settled: () => until(async () => (await openOperations(db)) === 0, 20_000),
    async [Symbol.asyncDispose]() {
      await role[Symbol.asyncDispose]();
      await provider[Symbol.asyncDispose]();
    },
  };
  return test;
}

function orderPeerOf(orders: ReadonlyMap<string, OrderState>) {
  return peer(OrderService, {
    batchGetOrders({ ids }) {
      const found = ids.filter((id) => orders.has(id)).map((id) => ({ id, state: orders.get(id) ?? 0 }));
      return Promise.resolve({ orders: found as never[], absentIds: ids.filter((id) => !orders.has(id)) });
    },
  });
}

async function openOperations(db: Kysely<PaymentTables>): Promise<number> {
  const { rows } = await sql<{ open: bigint }>`
    select count(*) as open from payment_operations where state = 'PENDING'
  `.execute(db);
  return Number(rows[0]?.open);
}

/** Operations of an order, oldest first, as `CAPTURE SUCCEEDED`. */
export async function operationsOf(
  { db }: Pick<PaymentTest, "db">,
  { orderId }: Pick<Buying, "orderId">,
): Promise<string[]> {
  const { rows } = await sql<{ said: string }>`
    select concat_ws(' ', kind, operation.state, nullif(failure_code, '')) as said
    from payment_operations as operation join payments on payments.id = payment_id
    where order_id = ${orderId} order by operation.created_at, operation.id
  `.execute(db);
  return rows.map(({ said }) => said);
}

/**
 * The invariants, each a query or a comparison with the provider's journal whose findings are to be none: the books sum
 * to zero (I6), say what the payments say, and what the provider says (I5).
 */
export async function checkBooks({ db, provider }: Pick<PaymentTest, "db" | "provider">): Promise<void> {
  const unbalanced = sql`
    select transaction_id from ledger_entries group by transaction_id, currency having sum(amount_minor) <> 0
  `;
  const otherwise = sql`
    select payments.id, captured_minor, refunded_minor, refunding_minor, booked.*, asked.* from payments
    left join lateral (
      select coalesce(sum(amount_minor) filter (where kind = 'CAPTURE'), 0) as captured,
        coalesce(-sum(amount_minor) filter (where kind = 'REFUND'), 0) as refunded
      from ledger_transactions join ledger_entries on transaction_id = ledger_transactions.id and account like 'provider:%'
      where payment_id = payments.id
    ) as booked on true
    left join lateral (
      select coalesce(sum(amount_minor), 0) as refunding from payment_operations
      where payment_id = payments.id and kind = 'REFUND' and state = 'PENDING'
    ) as asked on true
    where captured_minor <> booked.captured or refunded_minor <> booked.refunded or refunding_minor <> asked.refunding
  `;
  const unbooked = sql`
    select id from payment_operations as operation
    where kind in ('CAPTURE', 'REFUND')
      and (state = 'SUCCEEDED') <> exists (select from ledger_transactions where operation_id = operation.id)
  `;
  for (const query of [unbalanced, otherwise, unbooked]) {
    expect((await query.execute(db)).rows).toEqual([]);
  }
  expect(new Set(provider.journal.map(({ key }) => key)).size).toBe(provider.journal.length);
  const rows = await db.selectFrom("payments").selectAll().execute();
  expect(rows.map((row) => oursOf(row)).sort(byId)).toEqual(rows.map(({ id }) => theirsOf(provider, id)).sort(byId));
}

interface Side {
  readonly id: string;
  readonly captured: bigint;
  readonly refunded: bigint;
  /** Also where it could not be given back, which is flagged. */
  readonly holds: boolean;
}

function oursOf(row: Selectable<Payments>): Side {
  const holds = row.state === "AUTHORIZED" || row.problem === "VOID_FAILED";
  return { id: row.id, captured: row.captured_minor, refunded: row.refunded_minor, holds };
}

function theirsOf({ journal, byPaymentId }: Pick<ScriptedProvider, "journal" | "byPaymentId">, id: string): Side {
  const entries = journal.filter(({ paymentId }) => paymentId === id);
  const sum = (kind: string) =>
    entries.filter((entry) => entry.kind === kind).reduce((all, one) => all + one.minor, 0n);
  expect(entries.filter(({ kind }) => kind === "authorization").length).toBeLessThanOrEqual(1);
  expect(entries.filter(({ kind }) => kind === "capture").length).toBeLessThanOrEqual(1);
  return { id, captured: sum("capture"), refunded: sum("refund"), holds: byPaymentId(id)?.state === "authorized" };
}

function byId(a: Side, b: Side): number {
  return a.id < b.id ? -1 : 1;
}
