import { toJson } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { ConnectError } from "@connectrpc/connect";
import { Code } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  PreconditionFailureSchema,
  QuotaFailureSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "#gen/google/rpc/error_details_pb.ts";
import type { AppError } from "../errors.ts";
import { toConnectError } from "../wire.ts";

export const PROBLEM_TYPE = "application/problem+json";

/** An error as RFC 9457 writes it, with the details of google.rpc beside. */
export interface Problem {
  /** `urn:connect-commerce:problem:<reason>`: the same for the same kind of problem. */
  readonly type: string;
  /** The reason in words. */
  readonly title: string;
  readonly status: number;
  /** About this occurrence. */
  readonly detail: string;
  /** The code of google.rpc, for example `FAILED_PRECONDITION`. */
  readonly code: string;
  /** From the closed list of docs/errors.md, for example `PRICE_CHANGED`. */
  readonly reason: string;
  /** Values that belong to the reason. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** The faulty fields, all at once. */
  readonly errors?: readonly object[];
  /** What would have to hold. */
  readonly preconditions?: readonly object[];
  /** What there is not. */
  readonly resource?: object;
  /** What there was too much of. */
  readonly quota?: readonly object[];
  /** Milliseconds after which to try again; also in Retry-After, in seconds. */
  readonly retryAfterMs?: number;
}

/** The HTTP statuses that google.rpc maps its codes to. */
const statuses: Readonly<Record<Code, number>> = {
  [Code.Canceled]: 499,
  [Code.Unknown]: 500,
  [Code.InvalidArgument]: 400,
  [Code.DeadlineExceeded]: 504,
  [Code.NotFound]: 404,
  [Code.AlreadyExists]: 409,
  [Code.PermissionDenied]: 403,
  [Code.ResourceExhausted]: 429,
  [Code.FailedPrecondition]: 400,
  [Code.Aborted]: 409,
  [Code.OutOfRange]: 400,
  [Code.Unimplemented]: 501,
  [Code.Internal]: 500,
  [Code.Unavailable]: 503,
  [Code.DataLoss]: 500,
  [Code.Unauthenticated]: 401,
};

/** Reasons for which HTTP has a more precise status. */
const statusOfReason: ReadonlyMap<string, number> = new Map([
  ["MESSAGE_TOO_LARGE", 413],
  ["IDEMPOTENCY_KEY_REUSED", 422],
]);

/** @param status of HTTP, where the error's own does not say enough, as 405 or 415 */
export function toProblem(error: AppError, status?: number): Problem {
  const wire = toConnectError(error);
  const [info] = wire.findDetails(ErrorInfoSchema);
  const reason = info?.reason ?? error.reason;
  const delay = wire.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return {
    type: `urn:connect-commerce:problem:${reason}`,
    title: inWords(reason),
    status: status ?? statusOfReason.get(reason) ?? statuses[wire.code],
    detail: wire.rawMessage,
    code: codeName(wire.code),
    reason,
    ...(info && Object.keys(info.metadata).length > 0 && { metadata: info.metadata }),
    ...lists(wire),
    ...(delay && { retryAfterMs: durationMs(delay) }),
  };
}

function lists(wire: ConnectError): Pick<Problem, "errors" | "preconditions" | "resource" | "quota"> {
  const [badRequest] = wire.findDetails(BadRequestSchema);
  const [preconditions] = wire.findDetails(PreconditionFailureSchema);
  const [resource] = wire.findDetails(ResourceInfoSchema);
  const [quota] = wire.findDetails(QuotaFailureSchema);
  return {
    ...(badRequest && {
      errors: badRequest.fieldViolations.map(({ field, description, reason }) => ({
        field,
        description,
        ...(reason !== "" && { reason }),
      })),
    }),
    ...(preconditions && {
      preconditions: preconditions.violations.map(({ type, subject, description }) => ({ type, subject, description })),
    }),
    ...(resource && { resource: toJson(ResourceInfoSchema, resource) as object }),
    ...(quota && { quota: quota.violations.map(({ subject, description }) => ({ subject, description })) }),
  };
}

/** `PRICE_CHANGED` as `Price changed`. */
function inWords(reason: string): string {
  const words = reason.toLowerCase().replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function codeName(code: Code): string {
  return (Code[code] ?? "Unknown").replaceAll(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}
