import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";

/** A row that breaks a promise. */
export interface Violation {
  /** For example `order 0199…`, or `stock MUG at main`. */
  readonly about: string;
  readonly problem: string;
}

/** What became of one promise. */
export interface Finding {
  /** `I1` to `I16`, as docs/invariants.md lists them. */
  readonly invariant: string;
  /** The promise, in words. */
  readonly promise: string;
  /** Rows that were looked at. */
  readonly checked: number;
  readonly violations: readonly Violation[];
}

/** Databases of an installation, by role. */
export type Databases = Readonly<Record<string, Client>>;

/** What is checked, of the databases that are there. */
export interface Invariant {
  readonly invariant: string;
  readonly promise: string;
  /** The roles whose databases it needs. */
  readonly needs: readonly string[];
  check(databases: Databases): Promise<Omit<Finding, "invariant" | "promise">>;
}

/** Connects to the databases, read-only. @throws what the connection failed with */
export async function openDatabases(urls: Readonly<Record<string, string>>): Promise<Databases & AsyncDisposable> {
  const clients: Record<string, Client> = {};
  const close = async () => {
    await Promise.all(Object.values(clients).map((client) => client.end().catch(() => undefined)));
  };
  try {
    for (const [role, connectionString] of Object.entries(urls)) {
      const client = new Client({ connectionString, options: "-c default_transaction_read_only=on" });
      client.on("error", () => undefined);
      await client.connect();
      clients[role] = client;
    }
  } catch (error) {
    await close();
    throw error;
  }
  return Object.assign(Object.create({ [Symbol.asyncDispose]: close }) as AsyncDisposable, clients);
}

/** Checks one after the other; one whose databases are not all there is left out. */
export async function* checkInvariants(databases: Databases, invariants: readonly Invariant[]): AsyncIterable<Finding> {
  for (const each of invariants) {
    if (!each.needs.every((role) => Object.hasOwn(databases, role))) continue;
    yield { invariant: each.invariant, promise: each.promise, ...(await each.check(databases)) };
  }
}

/** A statement that answers the rows that break a promise, and one that counts those it looks at. */
export interface RowCheck {
  readonly role: string;
  readonly count: string;
  /** Answers `about` and `problem`. */
  readonly violations: string;
  readonly parameters?: readonly unknown[];
}

/** A promise about the rows of single databases. */
export function ofRows(invariant: string, promise: string, checks: readonly RowCheck[]): Invariant {
  return {
    invariant,
    promise,
    needs: [],
    async check(databases) {
      let checked = 0;
      const violations: Violation[] = [];
      for (const { role, count, violations: statement, parameters = [] } of checks) {
        const client = databases[role];
        if (!client) continue;
        await client.query("begin isolation level repeatable read read only");
        const { rows: counted } = await client.query<{ count: string }>(`select count(*) from (${count}) as counted`);
        const { rows } = await client.query<Violation>(`${statement} limit 1000`, [...parameters]);
        await client.query("commit");
        checked += Number(counted[0]?.count ?? 0);
        violations.push(...rows);
      }
      return { checked, violations };
    },
  };
}

/** Milliseconds until what seems broken is looked at again. */
const AGAIN_MS = 1_000;

/** The same of rows that come and go while a shop is at work: what is broken both times that it is looked at. */
export function ofRowsThatStay(invariant: string, promise: string, checks: readonly RowCheck[]): Invariant {
  const once = ofRows(invariant, promise, checks);
  return {
    ...once,
    async check(databases) {
      const first = await once.check(databases);
      if (first.violations.length === 0) return first;
      await delay(AGAIN_MS);
      const { checked, violations } = await once.check(databases);
      const before = new Set(first.violations.map(({ about }) => about));
      return { checked, violations: violations.filter(({ about }) => before.has(about)) };
    },
  };
}
