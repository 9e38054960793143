import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import type { JsonValue } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { compressionGzip } from "@connectrpc/connect-node";
import { errors } from "../errors.ts";
import { within } from "../within.ts";
import { fromInboundError } from "../wire.ts";

export interface BodyLimits {
  /** Bytes, as they come and inflated. */
  readonly messageBytes: number;
  /** Milliseconds in which all of it has to arrive. */
  readonly requestMs: number;
}

/**
 * Reads a JSON body, gzip or not. Undefined: there is none.
 * @throws AppError UNSUPPORTED_METHOD for another type or encoding, MESSAGE_TOO_LARGE, DEADLINE, MALFORMED_MESSAGE
 */
export async function readJsonBody(
  body: Readable,
  headers: IncomingHttpHeaders,
  limits: BodyLimits,
): Promise<JsonValue | undefined> {
  if (Number(headers["content-length"] ?? 0) > limits.messageBytes) throw tooLarge(limits);
  const sent = await within(limits.requestMs, readAll(body, limits), () => late(limits));
  if (sent.length === 0) return undefined;
  checkType(headers);
  return parse(await inflated(sent, headers, limits));
}

function checkType({
  "content-type": type = "",
  "content-encoding": encoding = "identity",
}: IncomingHttpHeaders): void {
  if (!/^application\/json(?:\s*;\s*charset="?utf-8"?)?\s*$/i.test(type)) {
    throw errors.UNSUPPORTED_METHOD({ message: "The body has to be application/json, in UTF-8." });
  }
  if (!["identity", "gzip"].includes(encoding.toLowerCase())) {
    throw errors.UNSUPPORTED_METHOD({ message: "The body has to be gzip, or not encoded at all." });
  }
}

async function readAll(body: Readable, limits: BodyLimits): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Not an iteration: leaving one destroys the request, and the client would never read why it is refused.
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      body.off("data", onData).off("end", onEnd).off("error", onLost).off("close", onLost);
      settle();
    };
    const onEnd = () => end(() => resolve(Buffer.concat(chunks)));
    const onLost = () => end(() => reject(errors.CANCELED()));
    const onData = (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > limits.messageBytes) end(() => reject(tooLarge(limits)));
      else chunks.push(chunk);
    };
    body.on("data", onData).once("end", onEnd).once("error", onLost).once("close", onLost);
  });
}

async function inflated(sent: Buffer, headers: IncomingHttpHeaders, { messageBytes }: BodyLimits): Promise<Uint8Array> {
  if (headers["content-encoding"]?.toLowerCase() !== "gzip") return sent;
  try {
    return await compressionGzip.decompress(new Uint8Array(sent), messageBytes);
  } catch (error) {
    throw fromInboundError(ConnectError.from(error));
  }
}

function parse(bytes: Uint8Array): JsonValue {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as JsonValue;
  } catch (cause) {
    // Without the parser's own words: they quote the body.
    throw errors.MALFORMED_MESSAGE({ message: "The body is no JSON.", cause });
  }
}

function tooLarge({ messageBytes }: BodyLimits) {
  return errors.MESSAGE_TOO_LARGE({ message: `The body is over its limit of ${String(messageBytes)} bytes.` });
}

function late({ requestMs }: BodyLimits) {
  return errors.DEADLINE({ message: `The body did not arrive within ${String(requestMs / 1_000)} s.` });
}
