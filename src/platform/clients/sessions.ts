import type { ClientHttp2Session } from "node:http2";
import { Http2SessionManager } from "@connectrpc/connect-node";

/**
 * The HTTP/2 connection to one address. connect-node's own manager ends the process where the server takes its leave
 * (GOAWAY) of a connection on which nothing runs, and the next call comes before the socket is closed: the session's
 * error has no listener then (connectrpc/connect-es#1768). Every role that stops takes its leave so.
 */
export class Sessions extends Http2SessionManager {
  readonly #known = new WeakSet<ClientHttp2Session>();

  override async request(...parameters: Parameters<Http2SessionManager["request"]>) {
    const stream = await super.request(...parameters);
    const { session } = stream;
    if (session && !this.#known.has(session as ClientHttp2Session)) {
      this.#known.add(session as ClientHttp2Session);
      // What becomes of its calls is told to each of them.
      session.on("error", () => undefined);
    }
    return stream;
  }
}
