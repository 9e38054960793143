import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Transport } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import type { Certificates } from "../certificates.ts";
import { peerOptions } from "../certificates.ts";
import { wireRegistry } from "../wire.ts";
import { Sessions } from "./sessions.ts";

/** Milliseconds after which a connection is replaced, so that a new replica gets its share. */
const LIFETIME_MS = 60_000;
/** Milliseconds after which a connection without calls closes. */
const IDLE_MS = 90_000;
/** Milliseconds between two looks at which addresses a peer has. */
const LOOKUP_MS = 15_000;

/** Milliseconds after which an address that neither takes nor refuses a connection counts as unreachable. */
const CONNECT_MS = 5_000;

/** The way to one address of a peer. */
export interface Way {
  readonly transport: Transport;
  /** Connects where that is not done. @throws ConnectError where it fails; the signal's reason */
  reach(signal: AbortSignal | undefined): Promise<void>;
}

interface Connection extends Way {
  readonly session: Sessions;
  /** Epoch milliseconds. */
  readonly replaceAt: number;
}

/** The connections to one peer: to every address that its name has, taken in turn, apart for calls and streams. */
export interface Connections {
  /** The way of the next call. Never waits for DNS but the first time. */
  next(use: "call" | "stream"): Promise<Way>;
  /** Closes all connections; what still runs on them fails. */
  close(): void;
}

/** @param certificates what is shown and believed where the address is of https: as it is when a connection begins */
export function openConnections(url: URL, certificates: Certificates): Connections {
  let addresses: readonly string[] = [];
  let lookedUpAt = 0;
  let pending: Promise<void> | undefined;
  let turn = 0;
  const open = new Map<string, Connection>();
  const replaced = new Set<Connection>();

  async function refresh(): Promise<void> {
    const found = isIP(url.hostname) ? [url.hostname] : await resolveAll(url.hostname);
    addresses = found;
    lookedUpAt = Date.now();
    for (const [key, connection] of open) {
      if (!found.some((address) => key.endsWith(` ${address}`))) retire(key, connection);
    }
  }

  function retire(key: string, connection: Connection): void {
    open.delete(key);
    replaced.add(connection);
    // Only long after: a call may have been handed this connection and not have begun.
    const cold = Date.now() - LIFETIME_MS;
    for (const old of replaced) if (old.replaceAt < cold && old.session.state() !== "open") closeOne(old);
  }

  function closeOne(connection: Connection): void {
    replaced.delete(connection);
    connection.session.abort();
  }

  return {
    async next(use) {
      if (Date.now() - lookedUpAt > LOOKUP_MS) {
        pending ??= refresh().finally(() => {
          pending = undefined;
        });
        // Known addresses serve meanwhile; a failed look-up is then tried again by the next call.
        if (addresses.length === 0) await pending;
        else pending.catch(() => undefined);
      }
      turn += 1;
      const address = addresses[turn % addresses.length] ?? url.hostname;
      const key = `${use} ${address}`;
      const known = open.get(key);
      if (known && known.replaceAt > Date.now()) return known;
      if (known) retire(key, known);
      const fresh = connect(url, address, certificates);
      open.set(key, fresh);
      return fresh;
    },
    close() {
      for (const connection of [...open.values(), ...replaced]) closeOne(connection);
      open.clear();
    },
  };
}

function connect(url: URL, address: string, certificates: Certificates): Connection {
  const isTls = url.protocol === "https:";
  const host = isIP(address) === 6 ? `[${address}]` : address;
  const baseUrl = `${url.protocol}//${host}:${url.port || (isTls ? "443" : "80")}`;
  const session = new Sessions(
    baseUrl,
    { pingIntervalMs: 10_000, pingTimeoutMs: 5_000, idleConnectionTimeoutMs: IDLE_MS },
    // MB. With node's 10 a few large messages refuse the streams of everybody else.
    { maxSessionMemory: 256, ...(isTls && { ...peerOptions(certificates.current()), ...serverName(url) }) },
  );
  const transport = createConnectTransport({
    baseUrl,
    httpVersion: "2",
    useBinaryFormat: true,
    // Inside an installation bytes are cheaper than the time to compress them.
    acceptCompression: [],
    sessionManager: session,
    jsonOptions: { registry: wireRegistry },
  });
  // Spread over a fifth of the lifetime, so that not all connections are replaced at once.
  const reach = (signal: AbortSignal | undefined) => reached(session, signal);
  return { transport, session, reach, replaceAt: Date.now() + LIFETIME_MS * (0.9 + 0.2 * Math.random()) };
}

/** The certificate must be of the name that the peer is known by; of the address only where that is all there is. */
function serverName({ hostname }: URL): { readonly servername?: string } {
  return isIP(hostname) !== 0 || hostname.startsWith("[") ? {} : { servername: hostname };
}

async function reached(session: Sessions, signal: AbortSignal | undefined): Promise<void> {
  const late = Promise.withResolvers<never>();
  const give = () => {
    late.reject(signal?.aborted ? signal.reason : new ConnectError("no connection in time", Code.Unavailable));
  };
  const timer = setTimeout(give, CONNECT_MS);
  signal?.addEventListener("abort", give, { once: true });
  try {
    if ((await Promise.race([session.connect(), late.promise])) !== "error") return;
    const error = session.error();
    throw error instanceof Error ? error : new ConnectError("no connection", Code.Unavailable);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", give);
  }
}

async function resolveAll(hostname: string): Promise<string[]> {
  const found = await lookup(hostname.replace(/^\[|\]$/g, ""), { all: true });
  const four = found.filter(({ family }) => family === 4);
  return (four.length > 0 ? four : found).map(({ address }) => address);
}
