import type {
  DescMessage,
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodClientStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { Logger } from "./logger.ts";

/**
 * One RPC as the rules and the handlers see it, whatever brought it: a socket, or another role in this process.
 * Nothing here belongs to a framework.
 */
export interface Call {
  /** The role that serves the call. */
  readonly role: string;
  readonly method: DescMethod;
  /** Made at the edge, carried through every hop; the same in every log line of one request. */
  readonly requestId: string;
  /** Who asks. */
  readonly subject: Subject;
  /** The role that made this call, where another role did and proved it. */
  readonly caller: string | undefined;
  /** Whether it is an outsider's call: one that came in here, or that the caller only passes on. */
  readonly outside: boolean;
  /** The address of the client, where the call came in here from outside. */
  readonly clientAddress: string | undefined;
  /** Epoch milliseconds; undefined only on streams. */
  readonly deadline: number | undefined;
  /** Aborts when the caller goes away, the deadline passes or the process must end. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** A header of the request, by its lower-case name. */
  header(name: string): string | undefined;
  /** Sets a header of the response; on streams before the first message. */
  setHeader(name: string, value: string): void;
}

/** On whose behalf a call is made: a user, a machine with an API key, a role acting for itself (a service). */
export type Subject =
  | { readonly kind: "anonymous" }
  | { readonly kind: "user"; readonly id: string; readonly permissions: readonly string[]; readonly sessionId?: string }
  | { readonly kind: "machine"; readonly id: string; readonly permissions: readonly string[] }
  | { readonly kind: "service"; readonly role: string };

/** Who calls at the edge, and for how long that holds. */
export interface Identity {
  readonly subject: Subject;
  /** Epoch milliseconds of the end of the token; undefined where there is none. */
  readonly expiresAt?: number;
  /** Calls back once when the token is revoked; answers how to stop listening. */
  onRevoked?(listener: () => void): () => void;
}

export const anonymous: Subject = { kind: "anonymous" };

/** The subject as a short key: part of idempotency scopes and log lines. Empty for nobody. */
export function subjectKey(subject: Subject): string {
  switch (subject.kind) {
    case "anonymous":
      return "";
    case "user":
      return subject.id;
    case "machine":
      return `key:${subject.id}`;
    case "service":
      return `service:${subject.role}`;
  }
}

/** What implements one method: requests in, answers out, {@link AppError} thrown for every refusal that is meant. */
export type Handler<M extends DescMethod> =
  M extends DescMethodUnary<infer I, infer O>
    ? (request: MessageShape<I>, call: Call) => Promise<MessageInitShape<O>>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageShape<I>, call: Call) => AsyncIterable<MessageInitShape<O>>
      : M extends DescMethodClientStreaming<infer I, infer O>
        ? (requests: AsyncIterable<MessageShape<I>>, call: Call) => Promise<MessageInitShape<O>>
        : M extends DescMethodBiDiStreaming<infer I, infer O>
          ? (requests: AsyncIterable<MessageShape<I>>, call: Call) => AsyncIterable<MessageInitShape<O>>
          : never;

/** What implements a service. A missing method is a type error. */
export type Handlers<S extends DescService> = { readonly [K in keyof S["method"]]: Handler<S["method"][K]> };

/** What a unary or client-streaming handler looks like to code that works on descriptors. */
export type AnyUnary = (request: unknown, call: Call) => Promise<MessageInitShape<DescMessage>>;

/** What a server or bidirectional streaming handler looks like to code that works on descriptors. */
export type AnyStream = (request: unknown, call: Call) => AsyncIterable<MessageInitShape<DescMessage>>;

export type AnyHandler = AnyUnary | AnyStream;

/** A service with its handlers. */
export interface ServedService {
  readonly service: DescService;
  /** The handler of a method, by its local name. Undefined: not served here. */
  handler(method: DescMethod): AnyHandler | undefined;
}

/** Joins a service with the handlers that serve it, checked by the compiler. */
export function serve<S extends DescService>(service: S, handlers: Handlers<S>): ServedService {
  const byName: Readonly<Record<string, unknown>> = handlers;
  return { service, handler: (method) => byName[method.localName] as AnyHandler | undefined };
}
