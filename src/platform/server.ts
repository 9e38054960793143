import type { AddressInfo, Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { ConnectRouter } from "@connectrpc/connect";
import { createContextValues } from "@connectrpc/connect";
import { fastifyConnectPlugin } from "@connectrpc/connect-fastify";
import { compressionGzip } from "@connectrpc/connect-node";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { fastify } from "fastify";
import { Health } from "#gen/grpc/health/v1/health_pb.ts";
import { clientAddressOf } from "./client-address.ts";
import type { ServeUnary, UnaryCalls } from "./connect-unary.ts";
import { createUnary } from "./connect-unary.ts";
import { createCors } from "./cors.ts";
import type { HttpAnswer, RpcHandler } from "./edge.ts";
import { namesTwoHosts, refuse, refuseUnknownPath, refuseUnservable } from "./edge.ts";
import { mendErrors } from "./edge-mend.ts";
import { AppError, errors } from "./errors.ts";
import type { Readiness } from "./health.ts";
import { createHealthState, healthRoutes, healthService } from "./health.ts";
import { newId } from "./id.ts";
import type { Logger } from "./logger.ts";
import type { PortLimits } from "./one-port.ts";
import { createOnePort } from "./one-port.ts";
import type { PortTls } from "./port-tls.ts";
import { REQUEST_ID_HEADER, receivedFrom, receivedId } from "./request-id.ts";
import { reflectionRoutes, reflectionServices } from "./reflection.ts";
import { setSecurityHeaders } from "./security-headers.ts";
import type { TrafficLimits } from "./traffic-limits.ts";
import { limitArrival, limitResponse } from "./traffic-limits.ts";
import { jsonOptions } from "./wire.ts";

export type { Readiness } from "./health.ts";

const TWO_HOSTS = "The request has more than one Host header.";

export interface Limits extends PortLimits, TrafficLimits {
  /** Bytes of a message that is received, on the wire and inflated. */
  readonly messageBytes: number;
}

/** The frameworks' own would let one client take the whole process. */
export const defaultLimits: Limits = {
  messageBytes: 1_048_576,
  maxConnections: 10_000,
  maxConcurrentStreams: 100,
  // All streams of a connection given up at once, twice: more of them, and others wait noticeably.
  streamResets: { burst: 200, perSecond: 50 },
  takesTurns: true,
  silenceMs: 10_000,
  headersMs: 10_000,
  // A MiB at 90 kB/s; who sends a body byte by byte is cut off within 15 s.
  requestMs: 12_000,
  // Longer than a load balancer's, so that it is never ours to close a connection that is just being used.
  idleMs: 75_000,
  streamIdleMs: 300_000,
};

export interface ServerOptions {
  readonly role: string;
  readonly log: Logger;
  /** What `routes` serves; health and reflection are added to it. */
  readonly services: readonly DescService[];
  /** Mounts the services. Their handlers throw nothing but what comes from an AppError. */
  readonly routes: (router: ConnectRouter) => void;
  /** The unary methods among them that may be served without the framework, with the same answers. */
  readonly unary?: UnaryCalls;
  /** Must not ask peers. */
  readonly readiness: () => Promise<Readiness>;
  /** Whether an unknown JSON field is refused: at the edge, so that a misspelt or invented one is not silently lost. */
  readonly strictJson?: boolean;
  /** Where browsers come: answers have security headers, and pages of these origins may read them. */
  readonly browsers?: { readonly origins: readonly string[] };
  /** Methods that reflection does not show. */
  readonly hide?: (method: DescMethod) => boolean;
  /** Plain HTTP routes and hooks of the role. */
  readonly http?: (app: FastifyInstance, context: ServerContext) => void | Promise<void>;
  readonly limits?: Partial<Limits>;
  /** Makes the port speak TLS. */
  readonly tls?: Omit<PortTls, "onRefused">;
  /** Addresses of proxies in front of the server, whose X-Forwarded-For is believed. */
  readonly trustedProxies?: readonly string[];
}

/** What routes need of the server that they are part of. */
export interface ServerContext {
  readonly limits: Limits;
  /** Aborts what still runs shortly before the server is closed, with the error to answer. */
  readonly stopping: AbortSignal;
  /** The client's address. */
  readonly addressOf: (request: FastifyRequest) => string;
  /** Answers a request that no call came of, and logs why. */
  readonly refuse: (request: FastifyRequest, reply: FastifyReply, error: AppError, http?: HttpAnswer) => void;
}

export interface Server {
  /** Port 0 takes any. */
  listen(host: string, port: number): Promise<{ readonly port: number }>;
  /** Not ready any more: clients are asked to leave, but served as long as they come. */
  drain(): void;
  /**
   * Drains, takes no new connection, and resolves when all are closed, within `graceMs`. Shortly before, the calls that
   * still run are aborted, so that they can say so; then what is left is cut.
   */
  close(graceMs: number): Promise<void>;
  readonly app: FastifyInstance;
}

/** One role's port: gRPC, gRPC-Web and Connect, over HTTP/1.1 and HTTP/2; health, reflection; the role's plain routes. */
export async function createServer(options: ServerOptions): Promise<Server> {
  const { log, role } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const health = createHealthState(options.readiness, log);
  const stopping = new AbortController();
  const onePort = createOnePort(
    (request, response) => {
      // HTTP/2 says it elsewhere: whoever looks at the host sees it over both.
      const authority = request.headers[":authority"];
      if (typeof authority === "string") request.headers.host ??= authority;
      app.routing(request, response);
    },
    limits,
    options.tls && { ...options.tls, onRefused: logHandshake },
  );
  const app = fastify({
    serverFactory: () => onePort.server,
    logger: false,
    genReqId: newId,
    forceCloseConnections: "idle",
    return503OnClosing: false,
    bodyLimit: limits.messageBytes,
    // No route has a JSON schema: what would compile one is a third of what Fastify loads.
    schemaController: { compilersFactory: { buildValidator: noSchema, buildSerializer: noSchema } },
    trustProxy: options.trustedProxies?.length ? [...options.trustedProxies] : false,
    // Before any hook.
    frameworkErrors: (error, request, reply) => {
      if (!answerBrowser(request as FastifyRequest, reply)) answerHttpError(error, request as FastifyRequest, reply);
    },
  });
  const cors = options.browsers && createCors(options.browsers.origins, refuseAndLog);

  function logHandshake(error: Error, { authorizationError, remoteAddress }: TLSSocket): void {
    const why = authorizationError === null ? error.message : String(authorizationError);
    log.info({ role, why, address: remoteAddress }, "TLS handshake failed");
  }

  /** Sets what browsers need to know; answers whether that was all, as of a preflight. */
  function answerBrowser(request: FastifyRequest, reply: FastifyReply): boolean {
    if (!cors) return false;
    setSecurityHeaders(request, reply);
    return cors.begin(request, reply);
  }

  function answerHttpError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const [refusal, http] = httpErrorOf(error);
    void reply.header(REQUEST_ID_HEADER, request.id);
    if (refusal.kind === "internal") {
      log.error({ err: error, path: pathOf(request), requestId: request.id }, "unexpected error");
    } else logRefusal(refusal, pathOf(request), request.id);
    refuse(request, reply, refusal, http);
  }
  function refuseAndLog(request: FastifyRequest, reply: FastifyReply, error: AppError, http?: HttpAnswer): void {
    logRefusal(error, pathOf(request), request.id);
    refuse(request, reply, error, http);
  }
  /** Without the message: that of an unreadable request quotes it. */
  function logRefusal({ kind, reason, details }: AppError, path: string, requestId: string): void {
    const line = { role, requestId, method: path.slice(1), code: kind, reason };
    if (kind === "internal") log.error({ ...line, err: details.cause }, "refused");
    else log.info(line, "refused");
  }

  app.setErrorHandler(answerHttpError);
  healthRoutes(app, health);
  await options.http?.(app, {
    limits,
    stopping: stopping.signal,
    addressOf,
    refuse: refuseAndLog,
  });
  // Not a handler: that would run only once the body is parsed.
  app.addHook("onRequest", (request, reply, done) => {
    void reply.header(REQUEST_ID_HEADER, request.id);
    if (answerBrowser(request, reply)) return;
    if (namesTwoHosts(request)) refuseAndLog(request, reply, errors.MALFORMED_MESSAGE({ message: TWO_HOSTS }));
    else if (request.is404) logRefusal(refuseUnknownPath(request, reply), pathOf(request), request.id);
    else done();
  });
  app.addHook("onSend", (_request, reply, _payload, done) => {
    cors?.finish(reply);
    done();
  });

  const handlers = new Map<string, RpcHandler>();
  const plain = new Map<string, ServeUnary>();
  const common = {
    context: { limits, stopping: stopping.signal, addressOf },
    strictJson: options.strictJson ?? false,
    onRefused: logRefusal,
  };
  await app.register(async (scope) => {
    scope.addHook("onRequest", (request, reply, done) => {
      const path = pathOf(request);
      const handler = handlers.get(path);
      const refused = handler && refuseUnservable(handler, request, reply);
      if (refused) return logRefusal(refused, path, request.id);
      if (handler) limitResponse(reply.raw, limits.streamIdleMs);
      if (!plain.get(path)?.(request, reply)) done();
    });
    await scope.register(fastifyConnectPlugin, {
      routes(router) {
        const services = [...options.services, Health, ...reflectionServices];
        options.routes(router);
        healthService(router, options.services, health);
        reflectionRoutes(router, services, options.hide ?? (() => false));
        for (const [index, handler] of router.handlers.entries()) {
          handlers.set(handler.requestPath, handler);
          const unary = options.unary && createUnary(handler.method, { ...common, calls: options.unary });
          if (unary) plain.set(handler.requestPath, unary);
          router.handlers[index] = mendErrors(limitArrival(handler, limits), {
            onRefused: (error, requestId) => logRefusal(error, handler.requestPath, requestId),
            onFailed: (err) => log.warn({ role, err, method: handler.requestPath.slice(1) }, "response not written"),
          });
        }
      },
      readMaxBytes: limits.messageBytes,
      // What a timer can hold; a longer one would fire at once. The deadline rule shortens it.
      maxTimeoutMs: 2 ** 31 - 1,
      acceptCompression: [compressionGzip],
      jsonOptions: jsonOptions(options.strictJson ?? false),
      shutdownSignal: stopping.signal,
      contextValues: (request) =>
        createContextValues().set(receivedId, request.id).set(receivedFrom, addressOf(request)),
    });
  });
  await app.ready();

  function drain(): void {
    health.drain();
    onePort.drain();
  }

  async function shutDown(graceMs: number): Promise<void> {
    drain();
    const abort = () => stopping.abort(errors.OVERLOADED({ message: "The server is stopping.", retryAfterMs: 1_000 }));
    const timers = [
      setTimeout(abort, graceMs * 0.9).unref(),
      setTimeout(() => onePort.destroy(), graceMs * 0.95).unref(),
    ];
    await app.close();
    for (const timer of timers) clearTimeout(timer);
    abort();
  }

  let closed: Promise<void> | undefined;
  return {
    app,
    drain,
    close: (graceMs) => (closed ??= shutDown(graceMs)),
    async listen(host, port) {
      await app.listen({ host, port });
      return { port: (app.server.address() as AddressInfo).port };
    },
  };
}

function noSchema(): never {
  throw new Error("Routes have no JSON schemas here.");
}

/** Of the client: as a trusted proxy tells it, where it tells an address. Empty where the connection has ended. */
function addressOf({ ip, socket }: { readonly ip: string | undefined; readonly socket: Socket }): string {
  return clientAddressOf(ip ?? "") ?? clientAddressOf(socket.remoteAddress ?? "") ?? "";
}

function pathOf(request: FastifyRequest): string {
  return request.url.replace(/\?.*/s, "");
}

/** Errors of the role's plain routes, and those that Fastify itself throws, which have a status. */
function httpErrorOf(error: unknown): [AppError, HttpAnswer?] {
  if (error instanceof AppError) return [error];
  const status = error instanceof Error && "statusCode" in error ? Number(error.statusCode) : 500;
  if (status === 413) return [errors.MESSAGE_TOO_LARGE({ cause: error }), { status }];
  if (status === 415)
    return [errors.UNSUPPORTED_METHOD({ message: "This content type is not served here." }), { status }];
  if (status >= 400 && status < 500) return [errors.MALFORMED_MESSAGE({ cause: error }), { status }];
  return [errors.INTERNAL({ cause: error })];
}
