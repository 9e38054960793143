import { AppError, errors } from "./errors.ts";

/** Milliseconds after which a call that the database could not serve is worth another try. */
const RETRY_AFTER_MS = 1000;

/** What node reports when a host cannot be reached or a socket breaks. */
const SOCKET_CODES = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "EHOSTDOWN",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ERR_STREAM_DESTROYED",
  "ERR_STREAM_WRITE_AFTER_END",
]);

/**
 * SQLSTATEs after which the session is gone: 57P01 to 57P05 (shutdown, crash, starting up, dropped, idle), 25P03 and
 * 25P04 (the server ended a session that sat in a transaction). The whole class 08 counts too.
 */
const SESSION_ENDED = new Set(["57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04"]);

/** Messages of pg and pg-pool, which give their own errors no code. */
const LOST_MESSAGES =
  /^(Connection terminated|Client has encountered a connection error|Client was closed and is not queryable|Query read timeout|timeout expired|Postgres connection has been discarded)/;
const NO_CONNECTION_FREE = "timeout exceeded when trying to connect";
const POOL_CLOSED = /^(Cannot use a pool after calling end|driver has already been destroyed)/;

/** SQLSTATEs that say "not now": too many connections, out of disk or memory, lock_timeout, and conflicts left over. */
const BUSY = new Set(["53000", "53100", "53200", "53300", "53400", "55P03", "40001", "40P01"]);

/**
 * SQLSTATEs of a database that is not ready for this build: it is missing, lacks migrations, or lets nobody in.
 * Operators see it in /readyz and in the log; a caller can only come back later.
 */
const NOT_READY = new Set(["3D000", "42P01", "28P01", "28000"]);

/** The SQLSTATE (or node's code) of an error; an empty string where it has none. */
export function codeOf(error: unknown): string {
  if (typeof error !== "object" || error === null || !("code" in error)) return "";
  return typeof error.code === "string" ? error.code : "";
}

/**
 * True where the connection could not be made, broke, or went silent. What was sent last may or may not have taken
 * effect, COMMIT included: look the outcome up (an idempotency row), never report a definite failure.
 */
export function isConnectionLost(error: unknown): boolean {
  const code = codeOf(error);
  if (SOCKET_CODES.has(code) || SESSION_ENDED.has(code) || /^08...$/.test(code)) return true;
  return error instanceof Error && code === "" && LOST_MESSAGES.test(error.message);
}

/** True where the server says "not now": nothing took effect, and the same may work later. */
export function isBusy(error: unknown): boolean {
  const code = codeOf(error);
  return BUSY.has(code) || code === "25006";
}

/**
 * What the caller of an RPC may learn of a failed database call; undefined for an error that is a bug (bad SQL, an
 * unmapped constraint) or no database error. Only for errors of a database call: a refused socket of another peer
 * looks the same.
 */
export function fromDatabaseError(error: unknown): AppError | undefined {
  if (error instanceof AppError) return undefined;
  const code = codeOf(error);
  const retry = { retryAfterMs: RETRY_AFTER_MS, cause: error };
  // A failover leaves a read-only server behind the old address: 25006.
  if (isConnectionLost(error) || code === "25006" || NOT_READY.has(code)) {
    return errors.PEER_DOWN({ ...retry, metadata: { peer: "database" } });
  }
  if (BUSY.has(code)) return errors.OVERLOADED(retry);
  if (code === "57014") return errors.DEADLINE({ cause: error });
  if (code === "22021" || code === "22P05") {
    return errors.INVALID_REQUEST({ message: "A text holds a character that cannot be stored.", cause: error });
  }
  if (!(error instanceof Error) || code !== "") return undefined;
  const noneFree = error.message === NO_CONNECTION_FREE || POOL_CLOSED.test(error.message);
  return noneFree ? errors.OVERLOADED(retry) : undefined;
}
