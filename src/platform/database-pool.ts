import type { PostgresPool, PostgresPoolClient, PostgresQueryResult } from "kysely";
import { Client, Pool, types } from "pg";
import type { PoolClient, PoolConfig } from "pg";
import type { Logger } from "./logger.ts";

const INT8 = 20;
const INT8_ARRAY = 1016;

/** How much longer than the server's own statement_timeout the client waits before it takes the connection for dead. */
const SILENCE_MS = 5_000;

export interface PoolOptions {
  readonly url: string;
  readonly role: string;
  readonly poolSize: number;
  /** Milliseconds; 0 for none, as migrations need. */
  readonly statementTimeoutMs: number;
  readonly log: Logger;
}

/** A pool whose sessions all have the time limits of this system. Connects on first use. */
export function createPool(options: PoolOptions): Pool {
  const { statementTimeoutMs, log } = options;
  const config: PoolConfig = {
    connectionString: options.url,
    application_name: `commerce-${options.role}`,
    max: options.poolSize,
    connectionTimeoutMillis: 2_000,
    statement_timeout: statementTimeoutMs,
    lock_timeout: 2_000,
    idle_in_transaction_session_timeout: 10_000,
    keepAlive: true,
    types: { getTypeParser },
  };
  // The server's limit does not help where the server, or the network to it, is silent (half-open connections).
  if (statementTimeoutMs > 0) config.query_timeout = statementTimeoutMs + SILENCE_MS;
  const pool = new Pool(config);
  pool.on("error", (error) => {
    log.warn({ reason: error.message }, "an idle database connection was lost");
  });
  // The pool listens only to idle clients: without this, losing one in use is an uncaught 'error' event.
  pool.on("connect", (client) => {
    client.on("error", (error) => {
      log.debug({ reason: error.message }, "a database connection was lost");
    });
  });
  return pool;
}

/**
 * The pool as Kysely's driver wants it. A checked-out client refuses queries while its COMMIT or ROLLBACK runs (they
 * would run after it, outside the transaction), and one whose server fell silent is not used again: pg itself would
 * hand it to the next caller, who would wait behind the dead query.
 */
export function kyselyPool(pool: Pool): PostgresPool {
  return {
    Client,
    options: pool.options,
    connect: async () => guarded(await pool.connect()),
    end: () => pool.end(),
  };
}

function guarded(client: PoolClient): PostgresPoolClient {
  let ending = false;
  let silent = false;
  async function query<R>(sql: unknown, parameters?: readonly unknown[]): Promise<PostgresQueryResult<R>> {
    if (typeof sql !== "string") throw new Error("Cursors are not used here; read pages by key.");
    if (ending) throw new Error("This query came after the work of its transaction was done; await every query.");
    const ends = sql === "commit" || sql === "rollback";
    ending = ends;
    try {
      const result = await client.query(sql, parameters as unknown[]);
      return result as unknown as PostgresQueryResult<R>;
    } catch (error) {
      silent ||= error instanceof Error && error.message === "Query read timeout";
      throw error;
    } finally {
      // Not by a query that was sent before and is answered now.
      if (ends) ending = false;
    }
  }
  const guard = {
    query,
    release: (destroy?: boolean) => {
      client.release(destroy === true || silent);
    },
  };
  const { processID } = client as PoolClient & { processID?: number };
  return (processID === undefined ? guard : { ...guard, processID }) as PostgresPoolClient;
}

type Parser = (text: string) => unknown;

/** int8 becomes a bigint, also in arrays; everything else as pg does it. Per pool: pg.types is shared by the process. */
function getTypeParser(oid: number, format?: "text" | "binary"): Parser {
  const standard = types.getTypeParser(oid, format ?? "text") as Parser;
  if (format === "binary") return standard;
  if (oid === INT8) return BigInt;
  if (oid === INT8_ARRAY) return (text) => toBigints(standard(text));
  return standard;
}

function toBigints(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(toBigints);
  return typeof value === "string" ? BigInt(value) : value;
}
