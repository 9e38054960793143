import type { IncomingMessage, RequestListener, ServerOptions, ServerResponse } from "node:http";
import type { Server } from "node:https";
import { createServer } from "node:https";
import type { Socket } from "node:net";
import type { SecureContextOptions, TLSSocket } from "node:tls";
import type { Certificates } from "./certificates.ts";
import { MIN_VERSION } from "./certificates.ts";

/** What makes a port speak TLS. */
export interface PortTls {
  /** There must be one of the port. */
  readonly certificates: Certificates;
  /** Clients must show a certificate that has one of these names; undefined: they are asked for none. */
  readonly clientNames?: readonly string[];
  /** Told of each handshake that failed, and why; not of clients that just went away. */
  readonly onRefused: (error: Error, socket: TLSSocket) => void;
}

/** Answers with what a connection speaks and the stream to speak it on; undefined where it came to nothing. */
export type Decide = (isHttp2: boolean | undefined, stream: Socket) => void;

/** A server as node makes it, which gives every connection to its HTTP/1.1 parser; see {@link acceptTls}. */
export function createTlsServer(
  options: ServerOptions,
  tls: PortTls,
  onRequest: RequestListener<typeof IncomingMessage, typeof ServerResponse>,
): Server {
  const requestCert = tls.clientNames !== undefined;
  const ALPNProtocols = ["h2", "http/1.1"];
  const server = createServer({ ...options, ...contextOf(tls), ALPNProtocols, requestCert }, onRequest);
  // Connections that are open go on as they began.
  tls.certificates.onRenewed(() => {
    server.setSecureContext(contextOf(tls));
  });
  return server;
}

function contextOf({ certificates, clientNames }: PortTls): SecureContextOptions {
  const { port, ca } = certificates.current();
  return { ...port, ...(clientNames && ca !== undefined && { ca }), minVersion: MIN_VERSION };
}

/** Waits for the handshakes of a server's connections, each for so many milliseconds in all. */
export function acceptTls(server: Server, { clientNames, onRefused }: PortTls) {
  const waiting = new Map<string, (stream?: TLSSocket) => void>();
  server.on("secureConnection", (stream: TLSSocket) => {
    // It costs a server more than a client; TLS 1.3 does not have it.
    stream.disableRenegotiation();
    const finish = waiting.get(connectionOf(stream));
    if (clientNames && !hasName(stream, clientNames)) {
      onRefused(new Error("the certificate of the client names no role"), stream);
      finish?.();
    } else if (finish) finish(stream);
    else stream.destroy();
  });
  server.on("tlsClientError", (error: NodeJS.ErrnoException, stream) => {
    const isRefused = stream.authorizationError !== null;
    if (isRefused || error.code !== "ECONNRESET") onRefused(error, stream);
    stream.destroy();
  });
  return (socket: Socket, withinMs: number, decide: Decide): void => {
    const connection = connectionOf(socket);
    let isDone = false;
    // node's own handshakeTimeout begins anew with each byte.
    const timer = setTimeout(finish, withinMs).unref();
    socket.once("close", () => {
      finish();
    });
    waiting.set(connection, finish);

    function finish(stream?: TLSSocket): void {
      if (isDone) return;
      isDone = true;
      clearTimeout(timer);
      if (waiting.get(connection) === finish) waiting.delete(connection);
      decide(stream && stream.alpnProtocol === "h2", stream ?? socket);
    }
  };
}

/** What makes a connection: the stream that comes out of a handshake does not tell on which socket it runs. */
function connectionOf({ localAddress, localPort, remoteAddress, remotePort }: Socket): string {
  return [localAddress, localPort, remoteAddress, remotePort].join(" ");
}

function hasName(stream: TLSSocket, names: readonly string[]): boolean {
  const certificate = stream.getPeerX509Certificate();
  return names.some((name) => certificate?.checkHost(name, { subject: "never", wildcards: false }) !== undefined);
}
