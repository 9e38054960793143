import { setTimeout as sleep } from "node:timers/promises";
import { Kysely, PostgresDialect } from "kysely";
import type { AbortableQueryOptions, IsolationLevel, KyselyPlugin, Transaction } from "kysely";
import { codeOf } from "./database-errors.ts";
import { createPool, kyselyPool } from "./database-pool.ts";
import type { AppError } from "./errors.ts";
import type { Logger } from "./logger.ts";

export { ensureDatabase } from "./database-create.ts";

export interface DatabaseOptions {
  readonly url: string;
  readonly role: string;
  /** At most this many connections; 10. */
  readonly poolSize?: number;
  /** Milliseconds the server lets a statement run; 10 000; 0 for no limit. */
  readonly statementTimeoutMs?: number;
  readonly log: Logger;
}

export interface Database<DB> {
  readonly db: Kysely<DB>;
  /** Waits for what runs, then disconnects. May be called twice. */
  readonly close: () => Promise<void>;
}

/** Where the errors of afterCommit work are logged, by the database that the transaction was begun on. */
const logs = new WeakMap<object, Logger>();

/** A role's database. Connects on first use. int8 arrives as bigint (so does count(*)), timestamptz as Date. */
export function openDatabase<DB>(options: DatabaseOptions): Database<DB> {
  const { url, role, log, poolSize = 10, statementTimeoutMs = 10_000 } = options;
  const pool = createPool({ url, role, log, poolSize, statementTimeoutMs });
  const db = new Kysely<DB>({ dialect: new PostgresDialect({ pool: kyselyPool(pool) }) });
  logs.set(db, log);
  let closed: Promise<void> | undefined;
  return {
    db,
    close: () => (closed ??= pool.ending ? Promise.resolve() : pool.end()),
  };
}

/**
 * Options for a read that may take long: when the signal aborts, the server is told to cancel it. Writes go without:
 * they are bounded by the statement timeout, and are done or not done.
 */
export function cancelledBy(signal: AbortSignal): AbortableQueryOptions {
  return { signal, inflightQueryAbortStrategy: "cancel query" };
}

export interface TransactionOptions {
  /** Postgres's own default, read committed, where it is left out. */
  readonly isolation?: IsolationLevel;
}

/** Retries after serialization failures (40001) and deadlocks (40P01): this many, waiting up to 10, 20, 40 ms. */
const MAX_RETRIES = 3;
const RETRY_WAIT_MS = 10;

type Hook = () => void | Promise<void>;

interface Running {
  readonly isolation: IsolationLevel | undefined;
  readonly hooks: Hook[];
}

const running = new WeakMap<object, Running>();

/**
 * Runs `work` in one transaction and answers its result once that is committed. `work` runs again after a
 * serialization failure or deadlock, so it touches nothing but `trx`: no peers, no state outside; use
 * {@link afterCommit} for what must follow. Queries that `work` did not await are refused when it is done.
 *
 * Given a transaction it joins it: there are no savepoints, so an error that the outer work swallows still leaves what
 * the inner one wrote, or an aborted transaction whose commit throws. Errors of `work` come out as they are; a lost
 * connection during COMMIT leaves the outcome unknown (`isConnectionLost`).
 */
export async function transaction<DB, T>(
  db: Kysely<DB> | Transaction<DB>,
  work: (trx: Transaction<DB>) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> {
  if (db.isTransaction) return join(db as Transaction<DB>, work, options);
  for (let attempt = 0; ; attempt += 1) {
    const state: Running = { isolation: options.isolation, hooks: [] };
    try {
      const result = await once(db, work, state);
      await runHooks(state.hooks, logs.get(db));
      return result;
    } catch (error) {
      if (attempt === MAX_RETRIES || !isConflict(error)) throw error;
      await sleep(Math.random() * RETRY_WAIT_MS * 2 ** attempt);
    }
  }
}

/**
 * Runs `fn` after the commit of a transaction begun by {@link transaction}, before that resolves; never after a
 * rollback. The change is already durable then, so an error is logged and not thrown.
 */
export function afterCommit<DB>(trx: Transaction<DB>, fn: Hook): void {
  const state = running.get(trx);
  if (!state) throw new Error("afterCommit needs the very transaction that transaction() handed out.");
  state.hooks.push(fn);
}

function join<DB, T>(trx: Transaction<DB>, work: (trx: Transaction<DB>) => Promise<T>, options: TransactionOptions) {
  if (options.isolation !== undefined && options.isolation !== running.get(trx)?.isolation) {
    throw new Error(`A joined transaction cannot become ${options.isolation}; begin the outer one so.`);
  }
  return work(trx);
}

async function once<DB, T>(db: Kysely<DB>, work: (trx: Transaction<DB>) => Promise<T>, state: Running): Promise<T> {
  let builder = db.transaction();
  if (state.isolation !== undefined) builder = builder.setIsolationLevel(state.isolation);
  let failure: { readonly error: unknown } | undefined;
  try {
    return await builder.execute(async (raw) => {
      const gate = new Gate();
      const trx = raw.withPlugin(gate);
      running.set(trx, state);
      try {
        return await work(trx);
      } catch (error) {
        failure = { error };
        throw error;
      } finally {
        gate.closed = true;
        running.delete(trx);
      }
    });
  } catch (error) {
    // Kysely throws the error of a failed ROLLBACK instead of the one that led to it.
    throw failure ? failure.error : error;
  }
}

/** Refuses queries built after `closed`; {@link kyselyPool} refuses those that were built before but not yet sent. */
class Gate implements KyselyPlugin {
  closed = false;

  transformQuery: KyselyPlugin["transformQuery"] = ({ node }) => {
    if (this.closed) throw new Error("This query came after the work of its transaction was done; await every query.");
    return node;
  };

  transformResult: KyselyPlugin["transformResult"] = ({ result }) => Promise.resolve(result);
}

async function runHooks(hooks: readonly Hook[], log: Logger | undefined): Promise<void> {
  for (const hook of hooks) {
    try {
      await hook();
    } catch (error) {
      if (log) log.error({ err: error }, "work after a commit failed");
      else process.emitWarning(error instanceof Error ? error : String(error));
    }
  }
}

function isConflict(error: unknown): boolean {
  const code = codeOf(error);
  return code === "40001" || code === "40P01";
}

/** Unique, foreign key, check, exclusion: the violations that carry the name of a constraint we wrote. */
const VIOLATIONS = new Set(["23505", "23503", "23001", "23514", "23P01"]);

/**
 * Runs `work`; the violation of a constraint named in `mapping` is thrown as the error made for it, anything else as
 * it is. A deferred constraint is checked at COMMIT: wrap the transaction, not the statement.
 *
 * @example
 * await onConstraint({ users_email_key: () => userErrors.EMAIL_TAKEN() }, () => insertUser(trx, user));
 */
export async function onConstraint<T>(
  mapping: Readonly<Record<string, (error: unknown) => AppError>>,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const name = violated(error);
    const make = name !== undefined && Object.hasOwn(mapping, name) ? mapping[name] : undefined;
    throw make ? make(error) : error;
  }
}

function violated(error: unknown): string | undefined {
  if (!VIOLATIONS.has(codeOf(error))) return undefined;
  const { constraint } = error as { constraint?: unknown };
  return typeof constraint === "string" ? constraint : undefined;
}
