/**
 * The one error type that rules, use cases and stores throw on purpose. Everything else that reaches the errors rule
 * is a bug: it is masked on the wire and logged once with its cause.
 */

/** The error codes of the Connect protocol, which are those of gRPC in snake case. */
export type ErrorKind =
  | "canceled"
  | "unknown"
  | "invalid_argument"
  | "deadline_exceeded"
  | "not_found"
  | "already_exists"
  | "permission_denied"
  | "resource_exhausted"
  | "failed_precondition"
  | "aborted"
  | "out_of_range"
  | "unimplemented"
  | "internal"
  | "unavailable"
  | "data_loss"
  | "unauthenticated";

/** One faulty field of a request, as google.rpc.BadRequest carries it. */
export interface FieldViolation {
  /** Path in proto names, e.g. `items[3].quantity`. */
  readonly field: string;
  readonly description: string;
  /** UPPER_SNAKE cause where one is more precise than the description, e.g. INVALID_TEXT. */
  readonly reason?: string;
}

/** One unmet precondition, as google.rpc.PreconditionFailure carries it. */
export interface PreconditionViolation {
  /** The reason in UPPER_SNAKE, e.g. SKU_UNAVAILABLE. */
  readonly type: string;
  /** What it is about, e.g. a SKU. */
  readonly subject: string;
  readonly description: string;
}

export interface ErrorDetails {
  /** Values of the ErrorInfo's metadata. */
  readonly metadata?: Readonly<Record<string, string>>;
  readonly fields?: readonly FieldViolation[];
  readonly preconditions?: readonly PreconditionViolation[];
  readonly resource?: { readonly type: string; readonly name: string };
  /** What there was too much of, as google.rpc.QuotaFailure carries it; the subject is for example `email`. */
  readonly quota?: { readonly subject: string; readonly description: string };
  /** Milliseconds after which a retry makes sense. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
  /** The error as a peer sent it: passed on as it is, details that this build does not know included. */
  readonly raw?: unknown;
}

/** A refusal that the caller is meant to read. `reason` comes from a closed list, see {@link defineErrors}. */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly kind: ErrorKind;
  readonly reason: string;
  readonly details: ErrorDetails;

  constructor(kind: ErrorKind, reason: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.kind = kind;
    this.reason = reason;
    this.details = details;
  }
}

type Make = (details?: ErrorDetails & { readonly message?: string }) => AppError;

/**
 * Turns a closed list of reasons into functions that make the error, so that a reason outside the list is a type error.
 *
 * @example
 * export const userErrors = defineErrors({ EMAIL_TAKEN: ["already_exists", "A user with this email exists."] });
 * throw userErrors.EMAIL_TAKEN({ metadata: { email } });
 */
export function defineErrors<R extends string>(
  list: Readonly<Record<R, readonly [kind: ErrorKind, message: string]>>,
): Readonly<Record<R, Make>> {
  const makers = Object.entries<readonly [ErrorKind, string]>(list).map(([reason, [kind, message]]): [string, Make] => [
    reason,
    (details = {}) => new AppError(kind, reason, details.message ?? message, details),
  ]);
  return Object.fromEntries(makers) as Record<R, Make>;
}

/** The reasons that the platform itself answers with; `commerce.common.v1.ErrorReason` documents each. */
export const errors = defineErrors({
  MALFORMED_MESSAGE: ["invalid_argument", "The message cannot be read."],
  INVALID_REQUEST: ["invalid_argument", "The request has faulty fields."],
  MESSAGE_TOO_LARGE: ["resource_exhausted", "The message is over its limit."],
  UNSUPPORTED_METHOD: ["unimplemented", "There is no such method here."],
  TOKEN_INVALID: ["unauthenticated", "The token is not valid; log in again."],
  TOKEN_MISSING: ["unauthenticated", "This needs somebody who is logged in: send an access token."],
  TOKEN_EXPIRED: ["unauthenticated", "The token's time is over; refresh it."],
  ACCESS_DENIED: ["permission_denied", "This caller may not do that."],
  NOT_FOUND: ["not_found", "There is no such object."],
  VERSION_MISMATCH: ["aborted", "The object has changed since it was read."],
  IDEMPOTENCY_KEY_REUSED: ["failed_precondition", "The idempotency key was used with another request."],
  IDEMPOTENCY_IN_PROGRESS: ["aborted", "The first call with this idempotency key is still running."],
  RATE_LIMITED: ["resource_exhausted", "Too many calls; try again later."],
  OVERLOADED: ["unavailable", "The service is busy; try again."],
  PEER_DOWN: ["unavailable", "A service that this call needs does not answer; try again."],
  DEADLINE: ["deadline_exceeded", "The deadline passed before the call was done."],
  CANCELED: ["canceled", "The caller went away."],
  AMOUNT_TOO_LARGE: ["out_of_range", "An amount is over what can be represented."],
  INTERNAL: ["internal", "Something went wrong here; the request id finds it in the logs."],
});

/** Makes the INVALID_REQUEST error of one or more faulty fields. */
export function invalidRequest(...fields: FieldViolation[]): AppError {
  const first = fields[0];
  const message =
    fields.length === 1 && first ? `${first.field}: ${first.description}` : "The request has faulty fields.";
  return errors.INVALID_REQUEST({ message, fields });
}

/** Makes the NOT_FOUND error of an object, e.g. `notFound("product", id)`. */
export function notFound(type: string, name: string): AppError {
  return errors.NOT_FOUND({ message: `There is no ${type} ${name}.`, resource: { type, name } });
}

/** Makes the VERSION_MISMATCH error of an update whose `expected_version` is stale. */
export function versionMismatch(current: number): AppError {
  return errors.VERSION_MISMATCH({ metadata: { current_version: String(current) } });
}

/**
 * What a call to another role failed with. It is not the caller's own error: `peers.ts` translates the kinds that it
 * expects, one by one; only the gateway passes it on. Untranslated, it is PEER_DOWN, DEADLINE, CANCELED or a defect.
 */
export class PeerError extends Error {
  override readonly name = "PeerError";
  readonly peer: string;
  readonly error: AppError;

  constructor(peer: string, error: AppError) {
    super(`${peer}: ${error.reason}: ${error.message}`, { cause: error });
    this.peer = peer;
    this.error = error;
  }
}
