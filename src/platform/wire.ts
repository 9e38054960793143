import type { MessageShape } from "@bufbuild/protobuf";
import { create, createRegistry } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { AnySchema, anyPack, durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  PreconditionFailureSchema,
  QuotaFailureSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
  file_google_rpc_error_details,
} from "#gen/google/rpc/error_details_pb.ts";
import type { Status } from "#gen/google/rpc/status_pb.ts";
import { StatusSchema } from "#gen/google/rpc/status_pb.ts";
import type { ErrorDetails, ErrorKind } from "./errors.ts";
import { AppError, errors } from "./errors.ts";

/** The domain of every google.rpc.ErrorInfo that is made here. */
export const ERROR_DOMAIN = "connect-commerce";

/** Without it no JSON can carry a google.rpc.Status: its details are Any, which JSON writes by type. */
export const wireRegistry = createRegistry(file_google_rpc_error_details);

/** connect-es hands these on to its JSON serialization, which also takes a decoder: its own lets broken UTF-8 pass. */
export function jsonOptions(strict: boolean) {
  return {
    ignoreUnknownFields: !strict,
    registry: wireRegistry,
    textDecoder: new TextDecoder("utf-8", { fatal: true }),
  };
}

const codes = {
  canceled: Code.Canceled,
  unknown: Code.Unknown,
  invalid_argument: Code.InvalidArgument,
  deadline_exceeded: Code.DeadlineExceeded,
  not_found: Code.NotFound,
  already_exists: Code.AlreadyExists,
  permission_denied: Code.PermissionDenied,
  resource_exhausted: Code.ResourceExhausted,
  failed_precondition: Code.FailedPrecondition,
  aborted: Code.Aborted,
  out_of_range: Code.OutOfRange,
  unimplemented: Code.Unimplemented,
  internal: Code.Internal,
  unavailable: Code.Unavailable,
  data_loss: Code.DataLoss,
  unauthenticated: Code.Unauthenticated,
} as const satisfies Record<ErrorKind, Code>;

const kinds = new Map<Code, ErrorKind>(Object.entries(codes).map(([kind, code]) => [code, kind as ErrorKind]));

export function codeOf(kind: ErrorKind): Code {
  return codes[kind];
}

/** `unknown` for a number that is no code. */
export function kindOf(code: Code): ErrorKind {
  return kinds.get(code) ?? "unknown";
}

type Detail = ConnectError["details"][number];

/**
 * The error as Connect sends it: one ErrorInfo, and each other detail at most once. What came from a peer (`raw`)
 * keeps the peer's code, message and the very bytes of its details, so that a hop in between needs to know none.
 */
export function toConnectError(error: AppError): ConnectError {
  const { raw } = error.details;
  if (raw instanceof ConnectError) {
    // A new error, because connect-es drops the metadata of one that it has parsed from the wire.
    const copy = new ConnectError(raw.rawMessage, raw.code, filteredHeaders(raw.metadata), undefined, error);
    copy.details = raw.details;
    return copy;
  }
  return new ConnectError(clip(error.message), codeOf(error.kind), undefined, detailsOf(error), error);
}

/**
 * Letters of one text, and of all violations together: over gRPC an error travels in headers, of which many clients
 * take 8 KiB. Of a request with hundreds of faults the first are told.
 */
const TEXT_LIMIT = 300;
const VIOLATIONS_LIMIT = 3_000;

function clip(text: string): string {
  return text.length > TEXT_LIMIT ? `${text.slice(0, TEXT_LIMIT).toWellFormed()}…` : text;
}

/** The violations with their texts clipped, as many as there is room for, and at least one. */
function clipped<V extends object>(violations: readonly V[]): V[] {
  const told: V[] = [];
  let letters = 0;
  for (const violation of violations) {
    const short = Object.fromEntries(Object.entries(violation).map(([name, text]) => [name, clip(String(text))])) as V;
    letters += JSON.stringify(short).length;
    if (told.length > 0 && letters > VIOLATIONS_LIMIT) break;
    told.push(short);
  }
  return told;
}

function clipValues(metadata: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name, clip(value)]));
}

function detailsOf({ reason, details }: AppError) {
  const { metadata, fields, preconditions, resource, quota, retryAfterMs } = details;
  return [
    { desc: ErrorInfoSchema, value: { reason, domain: ERROR_DOMAIN, metadata: clipValues(metadata) } },
    ...(fields?.length ? [{ desc: BadRequestSchema, value: { fieldViolations: clipped(fields) } }] : []),
    ...(preconditions?.length
      ? [{ desc: PreconditionFailureSchema, value: { violations: clipped(preconditions) } }]
      : []),
    ...(resource
      ? [{ desc: ResourceInfoSchema, value: { resourceType: resource.type, resourceName: clip(resource.name) } }]
      : []),
    ...(quota ? [{ desc: QuotaFailureSchema, value: { violations: [quota] } }] : []),
    ...(retryAfterMs === undefined
      ? []
      : [{ desc: RetryInfoSchema, value: { retryDelay: durationFromMs(retryAfterMs) } }]),
  ];
}

/** The error as a message, for one item of a stream or of a batch. */
export function toStatus(error: AppError): Status {
  const { code, rawMessage, details } = toConnectError(error);
  return create(StatusSchema, { code, message: rawMessage, details: details.map(toAny) });
}

function toAny(detail: Detail): Any {
  if ("desc" in detail) return anyPack(detail.desc, create(detail.desc, detail.value));
  return create(AnySchema, { typeUrl: `type.googleapis.com/${detail.type}`, value: detail.value });
}

/**
 * What a peer answered. With an ErrorInfo it is the peer's own error, kept in `raw`; without one it never reached the
 * peer's code and is told by its code alone.
 */
export function fromConnectError(error: ConnectError): AppError {
  const info = error.findDetails(ErrorInfoSchema)[0];
  return info ? fromErrorInfo(error, info) : fromBareCode(error);
}

/**
 * What connect-es itself says about a request that it cannot read. Unlike {@link fromConnectError} it takes the blame
 * off the server: connect-es calls unreadable binary an internal error.
 */
export function fromInboundError(error: ConnectError): AppError {
  const unreadable = /^(?:parse binary: |decompression failed|received compressed envelope)/;
  if (error.code === Code.Internal && unreadable.test(error.rawMessage)) {
    return errors.MALFORMED_MESSAGE({ message: clip(error.rawMessage), cause: error });
  }
  if (error.code === Code.ResourceExhausted && error.rawMessage.includes("writeMaxBytes")) {
    return errors.INTERNAL({ cause: error });
  }
  if (error.code === Code.DeadlineExceeded) return errors.DEADLINE({ message: clip(error.rawMessage), cause: error });
  return fromConnectError(error);
}

function fromErrorInfo(error: ConnectError, info: MessageShape<typeof ErrorInfoSchema>): AppError {
  const fields = error.findDetails(BadRequestSchema)[0]?.fieldViolations;
  const preconditions = error.findDetails(PreconditionFailureSchema)[0]?.violations;
  const resource = error.findDetails(ResourceInfoSchema)[0];
  const quota = error.findDetails(QuotaFailureSchema)[0]?.violations[0];
  const retryDelay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  const details: ErrorDetails = {
    ...(Object.keys(info.metadata).length > 0 && { metadata: info.metadata }),
    ...(fields && {
      fields: fields.map(({ field, description, reason }) => ({ field, description, ...(reason && { reason }) })),
    }),
    ...(preconditions && {
      preconditions: preconditions.map(({ type, subject, description }) => ({ type, subject, description })),
    }),
    ...(resource && { resource: { type: resource.resourceType, name: resource.resourceName } }),
    ...(quota && { quota: { subject: quota.subject, description: quota.description } }),
    ...(retryDelay && { retryAfterMs: durationMs(retryDelay) }),
    cause: error,
    raw: error,
  };
  return new AppError(kindOf(error.code), info.reason, error.rawMessage, details);
}

/** What is worth telling of JSON that cannot be read, and quotes none of its values. */
const READABLE_WHY = /^(?:key ".*" is unknown|duplicate object key ".*"|expected [\w ()]+|maximum recursion depth .*)/;

/** What connect-es says of JSON that it cannot read, without the values that it quotes: one may be a password. */
function withoutValues(message: string): string {
  const [, what, why = ""] = /^(cannot decode .+? from JSON)(?::? (.*))?$/s.exec(message) ?? [];
  if (what === undefined) return message;
  const told = READABLE_WHY.exec(why)?.[0];
  return told === undefined ? what : `${what}: ${told}`;
}

function fromBareCode(error: ConnectError): AppError {
  // Only words that are about the caller's own message are passed on; the others may name hosts and ports.
  const message = clip(error.rawMessage);
  switch (error.code) {
    case Code.Unavailable:
      return errors.PEER_DOWN({ retryAfterMs: 1_000, cause: error });
    case Code.DeadlineExceeded:
      return errors.DEADLINE({ cause: error });
    case Code.Canceled:
      return errors.CANCELED({ cause: error });
    case Code.ResourceExhausted:
      return errors.MESSAGE_TOO_LARGE({ message, cause: error });
    case Code.Unimplemented:
      return errors.UNSUPPORTED_METHOD({ message, cause: error });
    case Code.InvalidArgument:
      return errors.MALFORMED_MESSAGE({ message: clip(withoutValues(error.rawMessage)), cause: error });
    default:
      return errors.INTERNAL({ cause: error });
  }
}

/** In gRPC a message is a header, and an endless one (it may quote the request) breaks the answer. */
const hopHeaders = new Set(
  "te date host trailer transfer-encoding connection keep-alive upgrade proxy-connection http2-settings server user-agent x-request-id".split(
    " ",
  ),
);

/**
 * Headers of one hop that may be sent on the next: without those that describe a message, a protocol or a connection,
 * and without the request id, which every hop sets itself.
 */
export function filteredHeaders(headers: Headers): Headers {
  const kept = new Headers();
  for (const [name, value] of headers) {
    if (!/^(?:content-|grpc-|connect-|accept)/.test(name) && !hopHeaders.has(name)) kept.append(name, value);
  }
  return kept;
}
