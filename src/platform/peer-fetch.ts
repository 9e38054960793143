import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import type { AgentOptions } from "node:https";
import { Agent, request } from "node:https";
import { buffer } from "node:stream/consumers";
import type { Certificates, TlsMaterial } from "./certificates.ts";
import { peerOptions } from "./certificates.ts";

interface PeerRequest {
  readonly method?: string;
  readonly headers?: NonNullable<ConstructorParameters<typeof Headers>[0]>;
  readonly body?: string | Buffer;
  readonly signal: AbortSignal;
}

/**
 * Sends an HTTP request to a role, like fetch, and answers when all of the answer is there; a redirect is an answer. Over
 * https it shows the certificate of this process and believes its authority, which node's own fetch cannot.
 */
export type PeerFetch = (url: string, request: PeerRequest) => Promise<Response>;

/** @param isOwn whether this process listens there: its certificate may be made for another name than that. */
export function createPeerFetch(certificates: Certificates, isOwn: (url: URL) => boolean): PeerFetch {
  let made: { readonly of: TlsMaterial; readonly own: Agent; readonly others: Agent } | undefined;

  /** Requests that are under way, and connections that are kept, go on as they began. */
  function agentsOf(material: TlsMaterial) {
    if (made?.of === material) return made;
    const options: AgentOptions = { keepAlive: true, ...peerOptions(material) };
    made = { of: material, own: new Agent({ ...options, ...ownOptions(material) }), others: new Agent(options) };
    return made;
  }

  return async (address, init) => {
    const url = new URL(address);
    if (url.protocol !== "https:") return fetch(url, { ...init, redirect: "manual" });
    const agents = agentsOf(certificates.current());
    return fetchWith(isOwn(url) ? agents.own : agents.others, url, init);
  };
}

/** Believes who shows the very certificate that the ports of this process show. */
function ownOptions({ port }: TlsMaterial): AgentOptions {
  return { ...(port && { ca: port.cert }), allowPartialTrustChain: true, checkServerIdentity: () => undefined };
}

async function fetchWith(agent: Agent, url: URL, { method = "GET", headers, body, signal }: PeerRequest) {
  const sent = request(url, { agent, method, headers: Object.fromEntries(new Headers(headers)), signal });
  // A socket that breaks while the answer is read is told of there; here nobody would listen any more.
  sent.on("error", () => undefined);
  const answered = once(sent, "response") as Promise<[IncomingMessage]>;
  sent.end(body);
  const [answer] = await answered;
  return toResponse(answer, await buffer(answer));
}

/** What has no body by its status. */
const BODILESS = new Set([204, 205, 304]);

function toResponse({ statusCode = 502, rawHeaders }: IncomingMessage, body: Buffer<ArrayBuffer>): Response {
  const headers = new Headers();
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) headers.append(rawHeaders[at] ?? "", rawHeaders[at + 1] ?? "");
  return new Response(BODILESS.has(statusCode) ? null : body, { status: statusCode, headers });
}
