import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";

/** A port of the loopback interface where another program hangs up on whoever connects, until it is disposed of. */
export async function takePort(): Promise<{ readonly port: number } & AsyncDisposable> {
  const server = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}

/** A port on which nobody listens. */
export async function freePort(): Promise<number> {
  await using taken = await takePort();
  return taken.port;
}
