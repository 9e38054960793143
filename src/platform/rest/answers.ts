import { createHash } from "node:crypto";
import type { DescMethod, MessageShape, DescMessage } from "@bufbuild/protobuf";
import { toJsonString } from "@bufbuild/protobuf";
import { compressionGzip } from "@connectrpc/connect-node";
import { accessRule } from "../rules/access.ts";
import { wireRegistry } from "../wire.ts";

type AnyMessage = MessageShape<DescMessage>;

/** Bytes from which a body is worth compressing. */
const COMPRESSED_FROM = 1_024;
/** Seconds that anybody may keep what a PUBLIC method answered to nobody in particular. */
const PUBLIC_SECONDS = 5;

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Undefined of an answer without one. */
  readonly body: Uint8Array | undefined;
}

/** The JSON of a message, with every field that has no presence of its own: a client need not know what is left out. */
export function jsonOf(method: DescMethod, message: AnyMessage): string {
  return toJsonString(method.output, message, { registry: wireRegistry, alwaysEmitImplicit: true });
}

/**
 * The answer to a unary call. One that is read carries an ETag; where the client has that already, it is a 304.
 * @param headers of the call: what the handler set goes before what is set here
 */
export async function unaryAnswer(
  method: DescMethod,
  message: AnyMessage,
  request: { readonly verb: string; readonly headers: Headers },
  headers: Headers,
): Promise<Answer> {
  const json = Buffer.from(jsonOf(method, message));
  const isRead = request.verb === "GET" || request.verb === "HEAD";
  if (!headers.has("cache-control")) headers.set("cache-control", cacheControl(method, isRead, request.headers));
  headers.append("vary", isRead ? "authorization, accept, accept-encoding" : "accept-encoding");
  if (isRead) {
    if (!headers.has("etag")) headers.set("etag", etagOf(json));
    if (isKnown(headers.get("etag") ?? "", request.headers.get("if-none-match"))) {
      return { status: 304, headers, body: undefined };
    }
  }
  headers.set("content-type", "application/json");
  const isCompressed = json.length >= COMPRESSED_FROM && takesGzip(request.headers.get("accept-encoding"));
  const body = isCompressed ? await compressionGzip.compress(new Uint8Array(json)) : json;
  if (isCompressed) headers.set("content-encoding", "gzip");
  headers.set("content-length", String(body.byteLength));
  return { status: 200, headers, body: request.verb === "HEAD" ? undefined : body };
}

/** Only what anybody may read, and nobody in particular asked for, may be kept for others. */
function cacheControl(method: DescMethod, isRead: boolean, headers: Headers): string {
  if (!isRead) return "no-store";
  const isForAll = accessRule(method).level === "public" && !headers.has("authorization");
  return isForAll ? `public, max-age=${String(PUBLIC_SECONDS)}` : "private, no-cache";
}

/** Weak: the same for a body and for its compressed form. */
function etagOf(json: Uint8Array): string {
  return `W/"${createHash("sha256").update(json).digest("base64url").slice(0, 27)}"`;
}

/** Compared weakly, as RFC 9110 13.1.2 asks. */
function isKnown(etag: string, ifNoneMatch: string | null): boolean {
  if (ifNoneMatch === null) return false;
  const opaque = (tag: string) => tag.trim().replace(/^W\//, "");
  return ifNoneMatch.trim() === "*" || ifNoneMatch.split(",").some((tag) => opaque(tag) === opaque(etag));
}

function takesGzip(acceptEncoding: string | null): boolean {
  return /(?:^|,)\s*gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[\d.]+\s*)?(?:,|$)/i.test(acceptEncoding ?? "");
}
