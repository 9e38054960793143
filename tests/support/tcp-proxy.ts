import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/**
 * What is wrong with a way: nothing; connections break and none are made; they stay open and nothing arrives at either end;
 * what is asked arrives and the answers do not; everything takes a while.
 */
export type LinkFault = "none" | "cut" | "silent" | "lost answers" | "slow";

/** Milliseconds that each piece takes on a slow way. */
const SLOW_MS = 300;

/** A way to a server on which a test can break connections. */
export interface TcpProxy extends AsyncDisposable {
  /** The same address by way of this. */
  readonly url: string;
  /** Breaks every connection that is open. */
  readonly drop: () => void;
  /** From now on, also for connections that are open. What was swallowed meanwhile does not come later: they break then. */
  setFault(fault: LinkFault): void;
}

/** Listens on loopback and passes on to the host and port of a URL, which may be known only when somebody connects. */
export async function startProxy(target: string | (() => string)): Promise<TcpProxy> {
  const targetUrl = typeof target === "string" ? () => target : target;
  const open = new Set<Socket>();
  let fault: LinkFault = "none";
  const server = createServer((near) => {
    if (fault === "cut") {
      near.resetAndDestroy();
      return;
    }
    const { port, hostname } = new URL(targetUrl());
    const far = connect(Number(port), hostname);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(one);
      one.setNoDelay(true);
      pass(one, other, one === far);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        open.delete(one);
        other.destroy();
      });
    }
  });

  /** One piece after the other, as slowly as the other end reads. */
  function pass(from: Socket, to: Socket, isAnswer: boolean): void {
    from.on("data", (piece) => {
      if (fault === "silent" || (fault === "lost answers" && isAnswer)) return;
      from.pause();
      void (async () => {
        if (fault === "slow") await delay(SLOW_MS);
        if (!to.destroyed && !to.write(piece)) await Promise.race([once(to, "drain"), once(to, "close")]);
        from.resume();
      })().catch(() => from.destroy());
    });
    from.on("end", () => to.end());
  }

  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const drop = () => {
    for (const socket of open) socket.resetAndDestroy();
  };
  const through = new URL(typeof target === "string" ? target : "http://127.0.0.1");
  through.hostname = "127.0.0.1";
  through.port = String((server.address() as AddressInfo).port);
  return {
    url: through.href,
    drop,
    setFault(next) {
      const wasSwallowing = fault === "silent" || fault === "lost answers";
      fault = next;
      if (next === "cut" || wasSwallowing) drop();
    },
    async [Symbol.asyncDispose]() {
      server.close();
      drop();
      await once(server, "close");
    },
  };
}
