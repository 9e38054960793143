import type {
  DescMessage,
  DescMethod,
  DescMethodStreaming,
  DescMethodUnary,
  MessageInitShape,
} from "@bufbuild/protobuf";
import { fromBinary } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import type { Status } from "#gen/google/rpc/status_pb.ts";

/** What became of a call, whatever its kind. */
export interface Attempt {
  /** `Ok`, or the name of the code. */
  readonly code: string;
  /** Of the one ErrorInfo; empty where the call went well. */
  readonly reason: string;
  readonly message: string;
  /** The details as they came, in hexadecimal with their types. */
  readonly details: readonly string[];
  /** Names of the headers and trailers with their values, of an error. */
  readonly metadata: readonly (readonly [string, string])[];
  /** The first message of the answer. */
  readonly response?: unknown;
}

/** A message of any method. */
export type AnyRequest = MessageInitShape<DescMessage>;

/** Milliseconds that a call may take; no call here waits for anything. */
const LIMIT_MS = 10_000;

/**
 * Makes a call of any kind with these headers, reads its first message, and leaves. Of an order of many the result is
 * what became of that order.
 */
export async function attempt(
  transport: Transport,
  method: DescMethod,
  request: AnyRequest,
  headers: Readonly<Record<string, string>> = {},
): Promise<Attempt> {
  const leave = new AbortController();
  try {
    const response = await first(transport, method, request, headers, leave.signal);
    const status = statusIn(response);
    return status ? ofStatus(status) : { code: "Ok", reason: "", message: "", details: [], metadata: [], response };
  } catch (error) {
    return ofError(ConnectError.from(error));
  } finally {
    leave.abort();
  }
}

async function first(
  transport: Transport,
  method: DescMethod,
  request: AnyRequest,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<unknown> {
  if (method.methodKind === "unary") {
    const unary = method as DescMethodUnary;
    return (await transport.unary(unary, signal, LIMIT_MS, headers, request)).message;
  }
  async function* requests() {
    yield request;
  }
  const { message } = await transport.stream(method as DescMethodStreaming, signal, LIMIT_MS, headers, requests());
  for await (const response of message) return response;
  return undefined;
}

/** The error of an order that was refused alone. */
function statusIn(response: unknown): Status | undefined {
  const { results, result } = (response ?? {}) as {
    readonly results?: readonly { readonly result: Result }[];
    readonly result?: Result;
  };
  const only = results?.[0]?.result ?? result;
  return only?.case === "error" ? only.value : undefined;
}

type Result = { readonly case?: string; readonly value?: Status };

function ofError(error: ConnectError): Attempt {
  const details = error.details.map((detail) =>
    "type" in detail
      ? { type: detail.type, value: detail.value }
      : { type: detail.desc.typeName, value: new Uint8Array() },
  );
  return told(error.code, error.rawMessage, details, [...error.metadata]);
}

function ofStatus({ code, message, details }: Status): Attempt {
  const named = details.map(({ typeUrl, value }) => ({ type: typeUrl.replace(/.*\//, ""), value }));
  return told(code, message, named, []);
}

function told(
  code: Code,
  message: string,
  details: readonly { readonly type: string; readonly value: Uint8Array }[],
  metadata: [string, string][],
): Attempt {
  const infos = details.filter(({ type }) => type === ErrorInfoSchema.typeName);
  return {
    code: Code[code],
    reason: infos.map(({ value }) => fromBinary(ErrorInfoSchema, value).reason).join(" and "),
    message,
    details: details.map(({ type, value }) => `${type} ${Buffer.from(value).toString("hex")}`),
    metadata,
  };
}
