import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { allInvariants, owners } from "../../../src/commands/invariants/all.ts";
import type { Databases } from "../../../src/commands/invariants/check.ts";
import { checkInvariants, openDatabases } from "../../../src/commands/invariants/check.ts";
import type { Failpoints } from "../../support/failpoints.ts";
import { createFailpoints } from "../../support/failpoints.ts";
import { makeFolder } from "../../support/folders.ts";
import type { Installation } from "../../support/installation.ts";
import { startInstallation } from "../../support/installation.ts";
import type { TestDatabase } from "../../support/postgres.ts";
import type { Clients } from "../../support/protocols.ts";
import { clientsOf, protocols } from "../../support/protocols.ts";
import type { TcpProxy } from "../../support/tcp-proxy.ts";
import { startProxy } from "../../support/tcp-proxy.ts";

/** Milliseconds within which a shop is at rest again, after the last fault has healed: I12. */
const REST_MS = 30_000;
/** What holds at every moment, not only at rest. */
const ALWAYS = new Set(["I1", "I6"]);

/** A row that breaks a promise, in one line. */
export type Broken = string;

/** A shop of a process per role that can be made to fail, and whose promises can be checked. */
export interface FaultShop extends AsyncDisposable {
  readonly installation: Installation;
  readonly failpoints: Failpoints;
  /** By their names. */
  readonly links: Readonly<Record<string, TcpProxy>>;
  /** As the admin. */
  readonly clients: Clients;
  /** Adds a product with one SKU and stock; answers the SKU. */
  addGoods(stock: number, priceMinor?: bigint): Promise<string>;
  /** Whether somebody waits for a lock in the database of a role. */
  waitsForLock(role: string): Promise<boolean>;
  /** The state of an order, as its database has it: for when the process that serves clients does not answer. */
  storedState(orderId: string): Promise<string>;
  /** Waits until all promises hold; answers how long that took, and what is still broken when the time is over. */
  rest(withinMs?: number): Promise<{ readonly ms: number; readonly broken: readonly Broken[] }>;
}

export interface FaultShopOptions {
  /** Durable databases of the test's own, where it takes them away. */
  readonly databases?: Readonly<Record<string, TestDatabase>>;
  /** More of the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Further processes of these roles, on the same databases. */
  readonly replicas?: readonly string[];
  /** Ways from a role to another on which something can go wrong: `order>inventory`. */
  readonly links?: readonly string[];
}

export async function startFaultShop(options: FaultShopOptions = {}): Promise<FaultShop> {
  const { databases, env = {}, replicas = [], links: names = [] } = options;
  const folder = await makeFolder();
  const failpoints = createFailpoints(folder.path);
  const ports: Record<string, number | undefined> = {};
  const links: Record<string, TcpProxy> = {};
  const addresses: Record<string, Record<string, string>> = {};
  for (const name of names) {
    const [from = "", to = ""] = name.split(">");
    const link = await startProxy(() => `http://127.0.0.1:${String(ports[to])}`);
    links[name] = link;
    addresses[from] = { ...addresses[from], [`${to.toUpperCase()}_URL`]: link.url };
  }
  const envOf = (role: string) => ({ ...env, ...failpoints.env, ...addresses[role] });
  const installation = await startInstallation("a process per role", envOf, databases);
  for (const [role, { ports: opened }] of Object.entries(installation.processes)) ports[role] = opened[role];
  for (const role of replicas) await installation.another(role);
  const urls = Object.fromEntries(owners.map((role) => [role, installation.databases[role]?.url ?? ""]));
  let opened: (Databases & AsyncDisposable) | undefined;
  const clients = clientsOf(protocols.gRPC(installation.url));

  /** A database that was away needs new connections. */
  async function look(): Promise<Broken[]> {
    const broken: Broken[] = [];
    try {
      opened ??= await openDatabases(urls);
      for await (const { invariant, violations } of checkInvariants(opened, allInvariants(0))) {
        broken.push(...violations.map(({ about, problem }) => `${invariant} ${about}: ${problem}`));
      }
    } catch (error) {
      await opened?.[Symbol.asyncDispose]();
      opened = undefined;
      broken.push(`the databases cannot be read: ${String(error)}`);
    }
    return broken;
  }

  return {
    installation,
    failpoints,
    links,
    clients,
    async addGoods(stock, amountMinor = 1_290n) {
      const sku = `SKU-${randomUUID().slice(0, 18)}`;
      await clients.products.addProduct({
        title: "A mug",
        variants: [{ sku, price: { currencyCode: "EUR", amountMinor } }],
      });
      if (stock > 0) await clients.inventory.adjustStock({ sku, delta: BigInt(stock), idempotencyKey: sku });
      return sku;
    },
    async waitsForLock(role) {
      opened ??= await openDatabases(urls);
      const { rows } = (await opened[role]?.query(
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      )) ?? { rows: [] };
      return rows.length > 0;
    },
    async storedState(orderId) {
      opened ??= await openDatabases(urls);
      const found = await opened["order"]?.query<{ state: string }>("select state from orders where id = $1", [
        orderId,
      ]);
      return found?.rows[0]?.state ?? "";
    },
    async rest(withinMs = REST_MS) {
      const startedAt = performance.now();
      let wasWhole = false;
      for (;;) {
        const broken = await look();
        // Twice: what one look leaves out as under way may have ended, and ended wrong, before that look was over.
        const isWhole = broken.length === 0 && wasWhole;
        wasWhole = broken.length === 0;
        const ms = performance.now() - startedAt;
        const isFatal = broken.some((row) => ALWAYS.has(row.slice(0, row.indexOf(" "))));
        if (isWhole || isFatal || ms > withinMs) return { ms, broken };
        await delay(100);
      }
    },
    async [Symbol.asyncDispose]() {
      await opened?.[Symbol.asyncDispose]();
      await installation[Symbol.asyncDispose]();
      await Promise.all(Object.values(links).map((link) => link[Symbol.asyncDispose]()));
      await folder[Symbol.asyncDispose]();
    },
  };
}
