import { randomUUID } from "node:crypto";
import { createClient } from "@connectrpc/connect";
import { Pool } from "pg";
import { NotificationService } from "#gen/commerce/notification/v1/notification_pb.ts";
import type { CreateOrderRequestSchema, Order, OrderTransition } from "#gen/commerce/order/v1/order_pb.ts";
import { OrderState, OrderStep, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { LedgerTransactionKind, PaymentState } from "#gen/commerce/payment/v1/payment_pb.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { createAccount } from "../support/accounts.ts";
import type { Account } from "../support/accounts.ts";
import { addStocked } from "../support/checkout.ts";
import type { Ended } from "../support/commands.ts";
import { runNode } from "../support/commands.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { owners } from "../support/installation.ts";
import type { Clients, Protocol } from "../support/protocols.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { present } from "../support/role.ts";

/** What an order says beside its buyer, who it is that calls. */
export type Draft = MessageInitShape<typeof CreateOrderRequestSchema>;

/** A customer of a shop over one protocol, with something to buy: a mug for 12.90 EUR, ten of them. */
export interface Buyer {
  readonly account: Account;
  readonly userId: string;
  readonly sku: string;
  readonly clients: Clients;
  /** As an admin, over the same protocol. */
  readonly admin: Clients;
  /** Orders one mug, unless said otherwise; answered when it is settled. */
  order(draft?: Draft): Promise<Order>;
  read(id: string): Promise<Order>;
  /** The order once it is as the condition says. */
  readOnce(id: string, condition: (order: Order) => boolean): Promise<Order>;
  /** The names of the steps of its history. @throws Error where their numbers have gaps */
  steps(id: string): Promise<string[]>;
  /** The templates of the mails that were sent, oldest first. */
  mails(): Promise<string[]>;
}

export async function newBuyer(shop: Installation, protocol: Protocol = "gRPC"): Promise<Buyer> {
  const account = { email: `${randomUUID()}@example.com`, password: "correct horse" };
  const admin = clientsOf(protocols[protocol](shop.url));
  const [userId, sku] = await Promise.all([createAccount(shop.url, account, ""), addStocked(admin, { main: 10 })]);
  const transport = protocols[protocol](shop.url, account);
  const clients = clientsOf(transport);
  const notifications = createClient(NotificationService, transport);
  const read = async (id: string) => present((await clients.orders.getOrder({ id })).order);
  return {
    account,
    userId,
    sku,
    clients,
    admin,
    async order(draft = {}) {
      const request = { items: [{ sku, quantity: 1 }], waitFor: WaitFor.SETTLED, ...draft };
      return present((await clients.orders.createOrder(request, { timeoutMs: 25_000 })).order);
    },
    read,
    async readOnce(id, condition) {
      let order = await read(id);
      await until(async () => condition(order) || condition((order = await read(id))), 25_000);
      return order;
    },
    async steps(id) {
      return stepsOf((await clients.orders.listOrderEvents({ id })).events);
    },
    async mails() {
      const { deliveries } = await notifications.listDeliveries({});
      return deliveries.map(({ template }) => template).reverse();
    },
  };
}

/** The names of steps. @throws Error where their numbers have gaps */
export function stepsOf(events: readonly (OrderTransition | undefined)[], from = 1): string[] {
  return events.map((event, at) => {
    const { position, step } = present(event);
    if (position !== BigInt(from + at)) throw new Error(`step ${String(from + at)} has the number ${String(position)}`);
    return nameOf(OrderStep, step);
  });
}

/** Where an order ended, with the reason where there is one. */
export function endOf({ state, reason, reasonMetadata }: Order): string {
  return [nameOf(OrderState, state), reason, ...Object.values(reasonMetadata)].filter((word) => word !== "").join(" ");
}

/** The payment of an order, its refunds, and what the ledger has of it. @throws Error where a transaction is not zero */
export async function moneyOf({ payments }: Clients, orderId: string) {
  const [{ payment }, { transactions }] = await Promise.all([
    payments.getPayment({ orderId }),
    payments.listLedgerTransactions({ orderId }),
  ]);
  const { state, capturedAmount, refundedAmount } = present(payment);
  const booked = transactions.map(({ kind, entries }) => {
    const amounts = entries.map(({ amount }) => present(amount).amountMinor);
    if (amounts.reduce((sum, amount) => sum + amount, 0n) !== 0n) throw new Error("a transaction is not balanced");
    return `${nameOf(LedgerTransactionKind, kind)} ${String(amounts.find((amount) => amount > 0n))}`;
  });
  return {
    state: nameOf(PaymentState, state),
    captured: capturedAmount?.amountMinor,
    refunded: refundedAmount?.amountMinor,
    booked: booked.toReversed(),
  };
}

/** What the books sum to, by currency. */
export async function balanceOf({ payments }: Clients): Promise<Record<string, bigint>> {
  const { balances } = await payments.getLedgerBalances({});
  const sums: Record<string, bigint> = {};
  for (const { amount } of balances) {
    const { currencyCode, amountMinor } = present(amount);
    sums[currencyCode] = (sums[currencyCode] ?? 0n) + amountMinor;
  }
  return sums;
}

/** By address; what is idle for a second is given up, so that a database can be dropped. */
const pools = new Map<string, Pool>();

function poolOf(url: string): Pool {
  const known = pools.get(url);
  if (known) return known;
  const pool = new Pool({ connectionString: url, max: 2, idleTimeoutMillis: 1_000, allowExitOnIdle: true });
  // Its database may be dropped before.
  pool.on("error", () => undefined);
  pools.set(url, pool);
  return pool;
}

/** The rows of a statement in the database of a role. */
export async function query<T extends object>(
  shop: Installation,
  role: string,
  statement: string,
  parameters: unknown[] = [],
): Promise<T[]> {
  return (await poolOf(shop.databases[role]?.url ?? "").query<T>(statement, parameters)).rows;
}

/** Runs `npm run check:invariants` on a shop; nothing in it may be under way for longer than it takes. */
export function checkInvariants(shop: Installation): Promise<Ended> {
  const databases = owners.flatMap((role) => ["--database", `${role}=${shop.databases[role]?.url ?? ""}`]);
  return runNode("src/commands/check-invariants.ts", ["--late", "0", ...databases]);
}

/** Resolves with what it printed once no promise is broken. @throws Error with what is, after half a minute */
export async function holdsOnceAtRest(shop: Installation): Promise<string> {
  let last: Ended | undefined;
  await until(async () => (last = await checkInvariants(shop)).code === 0, 30_000).catch((error: unknown) => {
    throw new Error(`${last?.stdout ?? ""}${last?.stderr ?? ""}`, { cause: error });
  });
  return last?.stdout ?? "";
}

function nameOf(names: Readonly<Record<string, number>>, value: number): string {
  return Object.keys(names).find((name) => names[name] === value) ?? String(value);
}
