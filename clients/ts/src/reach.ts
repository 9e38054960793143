import { Code, ConnectError } from "@connectrpc/connect";

type Fetch = typeof globalThis.fetch;

/** Makes a fetch that fails UNAVAILABLE where no answer comes, or only a part of one: browsers and Node call that names of their own. */
export function reaching(fetch: Fetch): Fetch {
  return async (input, init) => {
    const failed = (cause: unknown) => {
      // A caller who went away, or whose time is over.
      if (init?.signal?.aborted) return cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      return new ConnectError(`the shop cannot be reached: ${why}`, Code.Unavailable, undefined, undefined, cause);
    };
    try {
      const response = await fetch(input, init);
      if (response.body === null) return response;
      const body = isStream(response) ? mapErrors(response.body, failed) : await response.arrayBuffer();
      const { status, statusText, headers } = response;
      return new Response(body, { status, statusText, headers });
    } catch (error) {
      throw failed(error);
    }
  };
}

function isStream({ headers }: Response): boolean {
  return /^application\/(?:connect\+|grpc-web)/.test(headers.get("content-type") ?? "");
}

function mapErrors(body: ReadableStream<Uint8Array>, failed: (cause: unknown) => unknown): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        controller.error(failed(error));
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
}
