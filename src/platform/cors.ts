import type { FastifyReply, FastifyRequest } from "fastify";
import type { AppError } from "./errors.ts";
import { errors } from "./errors.ts";

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

const REFUSED = "Pages of this origin may not call the shop; CORS_ORIGINS lists those that may.";

export interface Cors {
  /** Sets the headers of an answer before it is known, and answers or refuses a preflight: true where it did. */
  begin(request: FastifyRequest, reply: FastifyReply): boolean;
  /** Of an answer that is about to be sent: its route may have written over what it varies by. */
  finish(reply: FastifyReply): void;
}

/**
 * Lets pages of exactly these origins read answers (https://fetch.spec.whatwg.org/#http-cors-protocol). Cookies are
 * never asked for: tokens travel in a header. The plugin of Fastify does not serve here: it refuses with errors that are
 * none of ours, and knows nothing of requests whose address cannot be read.
 * @param origins as browsers write them, see `originList`
 * @param refuse answers with an error
 */
export function createCors(
  origins: readonly string[],
  refuse: (request: FastifyRequest, reply: FastifyReply, error: AppError) => void,
): Cors {
  const allowed = new Set(origins);
  return {
    begin(request, reply) {
      const { origin, "access-control-request-method": asked } = request.headers;
      const isPreflight = request.method === "OPTIONS" && origin !== undefined && asked !== undefined;
      // Without a list nobody's answers differ.
      if (allowed.size > 0) void reply.header("vary", "Origin");
      if (origin === undefined || !allowed.has(origin)) {
        if (isPreflight) refuse(request, reply, errors.ACCESS_DENIED({ message: REFUSED }));
        return isPreflight;
      }
      void reply.header("access-control-allow-origin", origin);
      if (isPreflight) void reply.headers(PREFLIGHT).code(204).send();
      else void reply.header("access-control-expose-headers", RESPONSE_HEADERS);
      return isPreflight;
    },
    finish(reply) {
      const vary = String(reply.getHeader("vary") ?? "");
      if (allowed.size > 0 && !/\borigin\b/i.test(vary))
        void reply.header("vary", vary === "" ? "Origin" : `${vary}, Origin`);
    },
  };
}
