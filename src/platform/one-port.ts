import { createServer as createHttp1Server } from "node:http";
import type { IncomingMessage, Server, ServerOptions, ServerResponse } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import type { Http2ServerRequest, Http2ServerResponse, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { Server as TlsServer } from "node:https";
import type { Socket } from "node:net";
import type { Pacing } from "./pacing.ts";
import { beginAtOnce, createPacing } from "./pacing.ts";
import type { Decide, PortTls } from "./port-tls.ts";
import { acceptTls, createTlsServer } from "./port-tls.ts";

/** Milliseconds where not said otherwise. */
export interface PortLimits {
  /** Connections at the same time; one more is closed at once. */
  readonly maxConnections: number;
  /** Streams that one HTTP/2 connection may have open. */
  readonly maxConcurrentStreams: number;
  /** Streams that the client of an HTTP/2 connection may give up: so many at once, and so many a second. */
  readonly streamResets: { readonly burst: number; readonly perSecond: number };
  /** Whether calls over HTTP/2 begin one in a turn, connections taking turns; else as they come, which costs less. */
  readonly takesTurns: boolean;
  /** How long a connection may say nothing at all. */
  readonly silenceMs: number;
  /** How long HTTP/1.1 headers, and the first SETTINGS of HTTP/2, may take. */
  readonly headersMs: number;
  /** How long an HTTP/1.1 request may take to arrive. */
  readonly requestMs: number;
  /** How long an unused connection is kept. */
  readonly idleMs: number;
}

/** Milliseconds between two looks for connections that take too long. */
const CHECK_MS = 2_000;

type OnRequest = (request: IncomingMessage, response: ServerResponse) => void;

export interface OnePort {
  /** Listens; Fastify calls `closeHttp2Sessions` before `close`. */
  readonly server: Server & { closeHttp2Sessions(): void };
  /** Asks every client to leave: calls that run are finished, what is idle or silent is closed. Still listens. */
  drain(): void;
  /** Cuts every connection. */
  destroy(): void;
}

/**
 * A server for HTTP/1.1 and HTTP/2 on one port. With TLS the handshake tells which (ALPN). Without, HTTP/2 is h2c with
 * prior knowledge, and the first bytes of a connection tell; `Upgrade: h2c` is ignored, as RFC 9113 asks: nobody listens
 * for upgrades, so node answers over HTTP/1.1.
 */
export function createOnePort(onRequest: OnRequest, limits: PortLimits, tls?: PortTls): OnePort {
  const sockets = new Set<Socket>();
  const undecided = new Set<Socket>();
  const sessions = new Map<ServerHttp2Session, Progress>();
  const responses = new Set<ServerResponse>();
  const pace: Pacing = limits.takesTurns ? createPacing() : beginAtOnce;
  let draining = false;

  const options: ServerOptions = {
    headersTimeout: limits.headersMs,
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.idleMs,
    connectionsCheckingInterval: CHECK_MS,
    noDelay: true,
    // Finds clients that are gone without a word, on both protocols.
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
  };
  const http1 = tls ? createTlsServer(options, tls, onHttp1) : createHttp1Server(options, onHttp1);
  function onHttp1(request: IncomingMessage, response: ServerResponse): void {
    responses.add(response);
    response.once("close", () => {
      responses.delete(response);
      // Its connection is idle only after this event.
      if (draining) setImmediate(() => http1.closeIdleConnections());
    });
    if (draining) response.setHeader("connection", "close");
    onRequest(request, response);
  }
  // Fastify and Connect serve node's HTTP/2 compatibility objects like those of HTTP/1.1.
  const onHttp2 = (request: Http2ServerRequest, response: Http2ServerResponse) => {
    // An empty body may have ended before there was a request to tell.
    if (request.stream.readableEnded) request.push(null);
    onRequest(request as unknown as IncomingMessage, response as unknown as ServerResponse);
  };
  const http2 = createHttp2Server(
    {
      settings: { maxConcurrentStreams: limits.maxConcurrentStreams },
      // MB. The default of 10 refuses streams as soon as a few slow readers have a stream chunk each in the queue.
      maxSessionMemory: 64,
      streamResetBurst: limits.streamResets.burst,
      streamResetRate: limits.streamResets.perSecond,
    },
    onHttp2,
  );
  // node's own listener makes a request of every stream, also of those that are reset in the same packet. Over HTTP/1.1
  // nothing has to wait: node reads on only as answers go out.
  const [makeRequest] = http2.listeners("stream");
  http2.removeAllListeners("stream");
  http2.on("stream", (stream: ServerHttp2Stream, ...rest: unknown[]) => {
    // Until there is a request nobody listens, and its connection may fail.
    stream.on("error", () => undefined);
    pace(stream.session ?? stream, () => {
      if (!stream.closed) makeRequest?.call(http2, stream, ...rest);
    });
  });
  http2.on("session", (session) => {
    sessions.set(session, followProgress(session));
    session.once("close", () => sessions.delete(session));
    closeWhenUnused(session, limits);
  });
  const sweep = setInterval(() => {
    for (const [session, progress] of sessions) {
      if (progress.isStuckFor(limits.headersMs)) session.destroy();
    }
  }, CHECK_MS).unref();
  http1.once("close", () => clearInterval(sweep));

  http1.maxConnections = limits.maxConnections;
  // node's own listener would give every connection to the HTTP/1.1 parser.
  const opened = tls ? "secureConnection" : "connection";
  const [giveToHttp1] = http1.listeners(opened);
  http1.removeAllListeners(opened);
  const tell = tls ? tellOfTls(http1 as TlsServer, tls) : sniff;
  http1.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    undecided.add(socket);
    tell(socket, limits.silenceMs, (isHttp2, stream) => {
      undecided.delete(socket);
      if (isHttp2 === undefined) socket.destroy();
      else if (isHttp2) {
        // node's HTTP/1.1 server leaves sockets half open; its http2 would never notice a client that is gone.
        stream.allowHalfOpen = false;
        http2.emit("connection", stream);
      } else {
        giveToHttp1?.call(http1, stream);
        stream.resume();
      }
    });
  });

  function drain(): void {
    draining = true;
    // The first bytes of a new connection may be under way; a TCP probe would never send any.
    setTimeout(() => {
      for (const socket of undecided) socket.destroy();
    }, 250).unref();
    // GOAWAY with the last stream that is served, then the end as soon as all of them are done.
    for (const session of sessions.keys()) session.close();
    for (const response of responses) {
      if (!response.headersSent) response.setHeader("connection", "close");
    }
    http1.closeIdleConnections();
  }

  return {
    server: Object.assign(http1, { closeHttp2Sessions: drain }),
    drain,
    destroy() {
      for (const session of sessions.keys()) session.destroy();
      for (const socket of sockets) socket.destroy();
    },
  };
}

interface Progress {
  /** Whether bytes have come for so long, in milliseconds, and made no whole frame that matters. */
  isStuckFor(ms: number): boolean;
}

/**
 * Follows whether an HTTP/2 connection gets anywhere. node tells nothing of a header block until it is whole, so one
 * that comes a byte at a time looks like a connection that is used: bytes come, and no stream begins.
 */
function followProgress(session: ServerHttp2Session): Progress {
  const { socket } = session;
  // The session takes its socket away when it ends, and streams are closed after that.
  const read = () => (session.destroyed ? bytes : socket.bytesRead);
  let streams = 0;
  let bytes = 0;
  let stuckSince: number | undefined;
  const onProgress = () => {
    bytes = read();
    stuckSince = undefined;
  };
  session.on("stream", (stream) => {
    streams += 1;
    onProgress();
    stream.once("close", () => {
      streams -= 1;
      onProgress();
    });
  });
  for (const event of ["ping", "remoteSettings", "localSettings"] as const) session.on(event, onProgress);
  return {
    isStuckFor(ms) {
      if (streams > 0 || read() === bytes) return false;
      bytes = read();
      stuckSince ??= performance.now();
      return performance.now() - stuckSince >= ms;
    },
  };
}

/** Closes a connection that does not begin in time, or that carries no stream and says nothing. */
function closeWhenUnused(session: ServerHttp2Session, { headersMs, idleMs }: PortLimits): void {
  const timer = setTimeout(() => session.destroy(), headersMs).unref();
  session.once("remoteSettings", () => clearTimeout(timer)).once("close", () => clearTimeout(timer));
  let streams = 0;
  session.on("stream", (stream) => {
    streams += 1;
    stream.once("close", () => {
      streams -= 1;
      // Its time begins when the last stream ends.
      session.setTimeout(idleMs);
    });
  });
  session.setTimeout(idleMs);
  session.on("timeout", () => {
    // A watch may have nothing to say for hours.
    if (streams === 0) session.close();
  });
}

/** Over TLS HTTP/2 is agreed upon, never guessed; HTTP/1.1 begins, here too, with its first bytes. */
function tellOfTls(server: TlsServer, tls: PortTls): typeof sniff {
  const shakeHands = acceptTls(server, tls);
  return (socket, silenceMs, decide) => {
    shakeHands(socket, silenceMs, (isHttp2, stream) => {
      if (isHttp2 !== false) return decide(isHttp2, stream);
      sniff(stream, silenceMs, (hasBegun) => {
        decide(hasBegun === undefined ? undefined : false, stream);
      });
    });
  };
}

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/**
 * Reads as much of a connection as tells the protocol, puts it back, and answers with the socket paused; undefined if
 * it ended, failed or said nothing in time. The socket's handle stays as it is: the way of httpolyglot, to clear
 * `isStreamBase`, takes node off its fast path (a quarter of the throughput); node's http2 reads what was put back
 * since v12 (nodejs/node#35475).
 */
function sniff(socket: Socket, silenceMs: number, decide: Decide): void {
  let head: Buffer = Buffer.alloc(0);
  const timer = setTimeout(giveUp, silenceMs).unref();
  socket.on("data", onData).once("end", giveUp).once("error", giveUp).once("close", giveUp);

  function finish(isHttp2: boolean | undefined): void {
    clearTimeout(timer);
    socket.off("data", onData).off("end", giveUp).off("close", giveUp);
    if (isHttp2 !== undefined) socket.off("error", giveUp);
    decide(isHttp2, socket);
  }
  function giveUp(): void {
    finish(undefined);
  }
  function onData(chunk: Buffer): void {
    head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
    const known = Math.min(head.length, preface.length);
    const isHttp2 = preface.compare(head, 0, known, 0, known) === 0;
    // "P" may still become POST; "PRI " is no method.
    if (isHttp2 && head.length < 4) return;
    socket.pause();
    socket.unshift(head);
    finish(isHttp2);
  }
}
