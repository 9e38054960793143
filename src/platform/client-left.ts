import type { FastifyReply } from "fastify";

/** Aborts when the client goes away before it is answered; or when the server stops, then with that one's reason. */
export function clientLeft({ raw }: FastifyReply, stopping?: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const onStopping = () => {
    controller.abort(stopping?.reason);
  };
  if (stopping?.aborted) onStopping();
  else stopping?.addEventListener("abort", onStopping);
  raw.once("close", () => {
    stopping?.removeEventListener("abort", onStopping);
    // Not `writableFinished`: over HTTP/2 that is also true of a stream that the client has reset.
    if (!raw.writableEnded) controller.abort();
  });
  return controller.signal;
}
