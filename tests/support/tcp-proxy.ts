import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";

/** A way to a server on which a test can break connections. */
export interface TcpProxy extends AsyncDisposable {
  /** The same address by way of this. */
  readonly url: string;
  /** Breaks every connection that is open. */
  readonly drop: () => void;
}

/** Listens on loopback and passes on to the host and port of a URL. */
export async function startProxy(url: string): Promise<TcpProxy> {
  const target = new URL(url);
  const open = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(Number(target.port), target.hostname);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(one);
      one.pipe(other);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        open.delete(one);
        other.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const drop = () => {
    for (const socket of open) socket.resetAndDestroy();
  };
  const through = new URL(url);
  through.port = String((server.address() as AddressInfo).port);
  return {
    url: through.href,
    drop,
    async [Symbol.asyncDispose]() {
      server.close();
      drop();
      await once(server, "close");
    },
  };
}
