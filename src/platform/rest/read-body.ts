import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import type { JsonValue } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { compressionGzip } from "@connectrpc/connect-node";
import type { BodyLimits } from "../body.ts";
import { readBody } from "../body.ts";
import { errors } from "../errors.ts";
import { fromInboundError } from "../wire.ts";

/**
 * Reads a JSON body, gzip or not. Undefined: there is none.
 * @throws AppError UNSUPPORTED_METHOD for another type or encoding, MESSAGE_TOO_LARGE, DEADLINE, MALFORMED_MESSAGE
 */
export async function readJsonBody(
  body: Readable,
  headers: IncomingHttpHeaders,
  limits: BodyLimits,
): Promise<JsonValue | undefined> {
  const sent = await readBody(body, headers, limits);
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
