import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { clientLeft } from "./client-left.ts";
import { fromDatabaseError } from "./database-errors.ts";
import { refuse } from "./edge.ts";
import { errors } from "./errors.ts";
import type { Logger } from "./logger.ts";
import type { PeerFetch } from "./peer-fetch.ts";

/** An HTTP request of a raw route: bytes and the headers that the route lists, untouched. */
export interface RawRequest {
  readonly method: string;
  /** The path below `/-/<role>`, with its leading slash. */
  readonly path: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** Only those that the route lists, by lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  readonly requestId: string;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

export interface RawResponse {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/**
 * A plain HTTP route that a role must own: a webhook, a page. It is reached at `/-/<role><path>`, at the role's own
 * port and through the gateway alike.
 */
export interface RawRoute {
  readonly method: "GET" | "POST";
  /** Below `/-/<role>`, for example `/webhooks/:provider`. */
  readonly path: string;
  /** The largest body, in bytes. */
  readonly maxBytes: number;
  /** The request headers that the handler gets, in lower case. */
  readonly headers?: readonly string[];
  /** Raw routes prove their callers themselves, by a signature or a token in the address. */
  readonly access: "public";
  handle(request: RawRequest): Promise<RawResponse>;
}

/** The largest body that the gateway passes on, in bytes; a route's own limit may be lower. */
const maxForwardedBytes = 1024 * 1024;

/** Milliseconds that a role may take to answer. */
const forwardedMs = 30_000;

/** Serves a role's raw routes in this process. */
export function mountRawRoutes(app: FastifyInstance, role: string, routes: readonly RawRoute[], log: Logger): void {
  if (routes.length === 0) return;
  void app.register(async (scope) => {
    acceptBytes(scope);
    for (const route of routes) {
      scope.route({
        method: route.method,
        url: `/-/${role}${route.path}`,
        // Fastify wants at least one byte; a GET has no body anyway.
        bodyLimit: Math.max(1, route.maxBytes),
        handler: async (request, reply) => {
          const startedAt = performance.now();
          const requestId = request.id;
          const callLog = log.child({ role, requestId });
          const aborted = clientLeft(reply);
          let status = 500;
          try {
            const answer = await route.handle({
              method: request.method,
              path: new URL(request.url, "http://host").pathname.slice(`/-/${role}`.length),
              params: request.params as Readonly<Record<string, string>>,
              query: new URL(request.url, "http://host").searchParams,
              headers: listed(request, route.headers ?? []),
              body: Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0),
              requestId,
              signal: aborted,
              log: callLog,
            });
            status = answer.status;
            return await reply
              .code(status)
              .headers({ ...answer.headers })
              .send(answer.body);
          } catch (error) {
            const known = fromDatabaseError(error);
            const away = known?.kind === "unavailable" ? known : undefined;
            if (away) callLog.warn({ err: error, reason: away.reason }, "the database does not answer");
            else callLog.error({ err: error }, "unexpected error");
            const told = away ?? errors.INTERNAL({ metadata: { request_id: requestId } });
            refuse(request, reply, told, away && { headers: { "retry-after": "1" } });
            status = reply.raw.statusCode;
            return await reply;
          } finally {
            const ms = Math.round((performance.now() - startedAt) * 10) / 10;
            callLog.info({ method: `${route.method} /-/${role}${route.path}`, status, ms }, "http");
          }
        },
      });
    }
  });
}

/** Passes everything below `/-/<role>/` on to a role elsewhere: bytes and headers, untouched. */
export function mountForwardedRoutes(
  app: FastifyInstance,
  role: string,
  to: URL,
  fetchPeer: PeerFetch,
  log: Logger,
): void {
  void app.register(async (scope) => {
    acceptBytes(scope);
    scope.route({
      method: ["GET", "POST"],
      url: `/-/${role}/*`,
      bodyLimit: maxForwardedBytes,
      handler: async (request, reply) => {
        const target = targetOf(request.url, role, to);
        if (!target) {
          refuse(request, reply, errors.NOT_FOUND({ message: "There is nothing at this path." }));
          return await reply;
        }
        try {
          const answer = await fetchPeer(target.href, {
            method: request.method,
            headers: endToEnd(Object.entries(request.headers).filter(([name]) => !name.startsWith("x-commerce-"))),
            signal: AbortSignal.any([clientLeft(reply), AbortSignal.timeout(forwardedMs)]),
            ...(request.method === "POST" && { body: Buffer.isBuffer(request.body) ? request.body : "" }),
          });
          const body = Buffer.from(await answer.arrayBuffer());
          return await withHeaders(reply, endToEnd([...answer.headers]))
            .code(answer.status)
            .send(body);
        } catch (error) {
          log.warn({ role, err: error }, "the role of a raw route does not answer");
          const down = errors.PEER_DOWN({ retryAfterMs: 1_000, metadata: { peer: role } });
          refuse(request, reply, down, { headers: { "retry-after": "1" } });
          return await reply;
        }
      },
    });
  });
}

/**
 * The address to pass a request on to; undefined where it leads out of `/-/<role>/`: by an absolute address, or by
 * dots, which URL resolves however they are written.
 */
export function targetOf(path: string, role: string, to: URL): URL | undefined {
  const target = path.startsWith("/-/") ? URL.parse(`${to.origin}${path}`) : null;
  return target?.origin === to.origin && target.pathname.startsWith(`/-/${role}/`) ? target : undefined;
}

/** Bodies of any type as the bytes that came. */
function acceptBytes(scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser("*", { parseAs: "buffer" }, ({ raw }, body, done) => {
    // Over HTTP/2 node ends the body of a client that has left as if it were whole.
    if ("aborted" in raw && raw.aborted === true) done(errors.CANCELED());
    else done(null, body);
  });
}

function listed(request: FastifyRequest, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = request.headers[name];
      return value === undefined ? [] : [[name, Array.isArray(value) ? value.join(", ") : value]];
    }),
  );
}

/** What belongs to one connection, or to the length of a body that fetch has decoded. */
const hopByHop = new Set(
  "connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade host expect content-length content-encoding accept-encoding".split(
    " ",
  ),
);

type HeaderPairs = readonly (readonly [string, string | string[] | undefined])[];

/** Those that are for the other end, one pair a value: several Set-Cookie stay several. */
function endToEnd(headers: HeaderPairs): [string, string][] {
  return headers.flatMap(([name, value]) => {
    if (value === undefined || name.startsWith(":") || hopByHop.has(name)) return [];
    return [value].flat().map((single): [string, string] => [name, single]);
  });
}

function withHeaders(reply: FastifyReply, headers: readonly (readonly [string, string])[]): FastifyReply {
  const grouped = new Map<string, string[]>();
  for (const [name, value] of headers) grouped.set(name, [...(grouped.get(name) ?? []), value]);
  for (const [name, values] of grouped) void reply.header(name, values.length === 1 ? values[0] : values);
  return reply;
}
