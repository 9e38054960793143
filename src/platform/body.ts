import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import { errors } from "./errors.ts";
import { within } from "./within.ts";

export interface BodyLimits {
  /** Bytes, as they come and inflated. */
  readonly messageBytes: number;
  /** Milliseconds in which all of it has to arrive. */
  readonly requestMs: number;
}

/** A request of HTTP/1.1 or HTTP/2. */
type RequestBody = Readable & { readonly aborted?: boolean };

/**
 * Reads the body of a request as it comes.
 * @throws AppError MESSAGE_TOO_LARGE, DEADLINE, CANCELED where the client goes away
 */
export function readBody(body: RequestBody, headers: IncomingHttpHeaders, limits: BodyLimits): Promise<Buffer> {
  const announced = Number(headers["content-length"] ?? 0);
  if (announced > limits.messageBytes) return Promise.reject(tooLarge(limits));
  return within(limits.requestMs, readAll(body, announced, limits), () => late(limits));
}

async function readAll(body: RequestBody, announced: number, limits: BodyLimits): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Not an iteration: leaving one destroys the request, and the client would never read why it is refused.
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      body.off("data", onData).off("end", onEnd).off("error", onLost).off("close", onLost);
      settle();
    };
    const onEnd = () => {
      // Over HTTP/2 node ends the body of a client that has left: half a message may well be readable.
      if (body.aborted || bytes < announced) onLost();
      else end(() => resolve(Buffer.concat(chunks)));
    };
    const onLost = () => end(() => reject(errors.CANCELED()));
    const onData = (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > limits.messageBytes) end(() => reject(tooLarge(limits)));
      else chunks.push(chunk);
    };
    body.on("data", onData).once("end", onEnd).once("error", onLost).once("close", onLost);
  });
}

function tooLarge({ messageBytes }: BodyLimits) {
  return errors.MESSAGE_TOO_LARGE({ message: `The body is over its limit of ${String(messageBytes)} bytes.` });
}

function late({ requestMs }: BodyLimits) {
  return errors.DEADLINE({ message: `The body did not arrive within ${String(requestMs / 1_000)} s.` });
}
