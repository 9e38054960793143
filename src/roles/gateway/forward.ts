import type {
  DescMessage,
  DescMethod,
  DescMethodStreaming,
  DescMethodUnary,
  DescService,
  MessageShape,
} from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import type { AnyHandler, AnyUnary, Call, ServedService } from "../../platform/call.ts";
import { serving } from "../../platform/clients/serving.ts";
import { PeerError } from "../../platform/errors.ts";
import { accessRule } from "../../platform/rules/access.ts";

type AnyMessage = MessageShape<DescMessage>;
type Messages = AsyncIterable<AnyMessage>;

/** Request headers that travel on, beside what every call to a peer carries. */
const passedOn = ["traceparent", "tracestate", "accept-language"];

/** Response headers that travel back. */
const passedBack = ["idempotent-replayed", "cache-control", "etag", "retry-after"];

/**
 * Serves a role's methods by passing them on, whatever their kind: message, deadline, cancellation, back-pressure,
 * errors with their details. INTERNAL methods, and those that state no access rule, are not served at all.
 */
export function forwardService(service: DescService, transport: Transport): ServedService {
  const handlers = new Map(
    service.methods
      .filter((method) => accessRule(method).level !== "internal")
      .map((method) => [method.localName, forward(method, transport)]),
  );
  return { service, handler: (method) => handlers.get(method.localName) };
}

function forward(method: DescMethod, transport: Transport): AnyHandler {
  if (method.methodKind === "unary") return forwardUnary(method as DescMethodUnary, transport);
  const streaming = method as DescMethodStreaming;
  switch (streaming.methodKind) {
    case "client_streaming":
      return async (requests, call) => {
        for await (const message of exchange(streaming, transport, requests as Messages, call)) return message;
        throw new TypeError(`${method.name} was answered without a message`);
      };
    case "server_streaming":
      return (request, call) => exchange(streaming, transport, single(request as AnyMessage), call);
    case "bidi_streaming":
      return (requests, call) => exchange(streaming, transport, requests as Messages, call);
  }
}

function forwardUnary(method: DescMethodUnary, transport: Transport): AnyUnary {
  return async (request, call) => {
    const { signal, timeoutMs, contextValues } = serving(call);
    const response = await transport
      .unary(method, signal, timeoutMs, headersOf(call), request as AnyMessage, contextValues)
      .catch(passOn);
    sendBack(call, response.header);
    return response.message;
  };
}

/** Pulls one message at a time, so that a slow reader holds back the role. */
async function* exchange(
  method: DescMethodStreaming,
  transport: Transport,
  requests: Messages,
  call: Call,
): AsyncIterable<AnyMessage> {
  const { signal, timeoutMs, contextValues } = serving(call);
  try {
    const sent = method.methodKind === "server_streaming" ? requests : await onceBegun(requests);
    const response = await transport.stream(method, signal, timeoutMs, headersOf(call), sent, contextValues);
    sendBack(call, response.header);
    yield* response.message;
  } catch (error) {
    passOn(error);
  }
}

async function* single(message: AnyMessage): Messages {
  yield message;
}

/**
 * The messages of a client, from when the first has come or there is none: who opens streams and says nothing costs the
 * role nothing.
 */
async function onceBegun(requests: Messages): Promise<Messages> {
  const messages = requests[Symbol.asyncIterator]();
  const first = await messages.next();
  return beginningWith(first, messages);
}

async function* beginningWith(first: IteratorResult<AnyMessage>, others: AsyncIterator<AnyMessage>): Messages {
  try {
    for (let next = first; !next.done; next = await others.next()) yield next.value;
  } finally {
    await others.return?.();
  }
}

/** A peer's error is the gateway's answer, as it is. */
function passOn(error: unknown): never {
  throw error instanceof PeerError ? error.error : error;
}

function headersOf(call: Call): [string, string][] {
  const headers = [
    ...passedOn.map((name) => [name, call.header(name)] as const),
    ["x-client-agent", call.header("user-agent")] as const,
    ["x-client-address", call.clientAddress] as const,
  ];
  return headers.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as [string, string]]));
}

function sendBack(call: Call, header: Headers): void {
  for (const name of passedBack) {
    const value = header.get(name);
    if (value !== null) call.setHeader(name, value);
  }
}
