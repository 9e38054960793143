import type { FastifyReply } from "fastify";

/** Aborts when the client goes away before it is answered. */
export function clientLeft({ raw }: FastifyReply): AbortSignal {
  const controller = new AbortController();
  raw.once("close", () => {
    // Not `writableFinished`: over HTTP/2 that is also true of a stream that the client has reset.
    if (!raw.writableEnded) controller.abort();
  });
  return controller.signal;
}
