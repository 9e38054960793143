import type { FastifyReply, FastifyRequest } from "fastify";

/** Of every answer: it is data, which no page shows, frames or guesses the type of. Pages bring their own policy. */
const ALWAYS = {
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  // Pages of other origins that may read answers ask with CORS, which this does not touch.
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  // For browsers that do not know frame-ancestors.
  "x-frame-options": "DENY",
};

/** A year, in seconds. Only this host: which others its owner has is not known here. */
const HTTPS_ONLY = "max-age=31536000";

/**
 * Tells browsers what they may do with the answer; a handler's own headers come later and win. Asks for HTTPS from now on
 * where the client came by it: to this port, or to a trusted proxy that says so. Not as localhost: a browser would ask
 * for it at every other port there, too.
 */
export function setSecurityHeaders({ protocol, hostname }: FastifyRequest, reply: FastifyReply): void {
  void reply.headers(ALWAYS);
  if (protocol === "https" && hostname !== "localhost") void reply.header("strict-transport-security", HTTPS_ONLY);
}
