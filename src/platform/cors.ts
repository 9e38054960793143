import type { FastifyReply, FastifyRequest } from "fastify";

/** What clients of Connect, gRPC-Web and REST send beside what every page may. */
const REQUEST_HEADERS = [
  "accept",
  "accept-language",
  "authorization",
  "connect-accept-encoding",
  "connect-content-encoding",
  "connect-protocol-version",
  "connect-timeout-ms",
  "content-encoding",
  "content-type",
  "grpc-accept-encoding",
  "grpc-encoding",
  "grpc-timeout",
  "idempotency-key",
  "if-match",
  "if-none-match",
  "last-event-id",
  "traceparent",
  "tracestate",
  "x-grpc-web",
  "x-user-agent",
].join(", ");

/** What they read of an answer beside what every page may. */
const RESPONSE_HEADERS = [
  "allow",
  "connect-accept-encoding",
  "connect-content-encoding",
  "content-encoding",
  "etag",
  "grpc-accept-encoding",
  "grpc-encoding",
  "grpc-message",
  "grpc-status",
  "grpc-status-details-bin",
  "idempotent-replayed",
  "location",
  "retry-after",
  "www-authenticate",
  "x-request-id",
].join(", ");

const PREFLIGHT = {
  "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
  "access-control-allow-headers": REQUEST_HEADERS,
  // Seconds; no browser remembers longer.
  "access-control-max-age": "7200",
};

export interface Cors {
  /** Sets the headers of an answer before it is known, and answers a preflight: true where it did. */
  begin(request: FastifyRequest, reply: FastifyReply): boolean;
  /** Of an answer that is about to be sent: its route may have written over what it varies by. */
  finish(reply: FastifyReply): void;
}

/**
 * Lets pages of exactly these origins read answers (https://fetch.spec.whatwg.org/#http-cors-protocol). Cookies are
 * never asked for: tokens travel in a header. Preflights of other origins go on to the routes, which serve no OPTIONS.
 * The plugin of Fastify does not serve here: it answers those with an error that is none of ours, and knows nothing of
 * requests whose address cannot be read.
 * @param origins as browsers write them, see `originList`
 */
export function createCors(origins: readonly string[]): Cors {
  const allowed = new Set(origins);
  return {
    begin({ method, headers }, reply) {
      // Nobody's answers differ.
      if (allowed.size === 0) return false;
      void reply.header("vary", "Origin");
      const { origin } = headers;
      if (origin === undefined || !allowed.has(origin)) return false;
      void reply.header("access-control-allow-origin", origin);
      if (method === "OPTIONS" && headers["access-control-request-method"] !== undefined) {
        void reply.headers(PREFLIGHT).code(204).send();
        return true;
      }
      void reply.header("access-control-expose-headers", RESPONSE_HEADERS);
      return false;
    },
    finish(reply) {
      const vary = String(reply.getHeader("vary") ?? "");
      if (allowed.size > 0 && !/\borigin\b/i.test(vary))
        void reply.header("vary", vary === "" ? "Origin" : `${vary}, Origin`);
    },
  };
}
