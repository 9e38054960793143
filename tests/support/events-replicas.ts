import type { ChildProcess } from "node:child_process";
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { migrateBus } from "../../src/platform/events/migrate-bus.ts";
import { top } from "./commands.ts";
import { silent } from "./events.ts";
import { createEmptyDatabase } from "./postgres.ts";
import type { ReplicaOptions } from "./programs/event-replica.ts";

export interface BusPlace extends AsyncDisposable {
  readonly url: string;
}

/** A bus on Postgres of a test's own. */
export async function createPostgresBus(): Promise<BusPlace> {
  const { url, drop } = await createEmptyDatabase();
  await migrateBus(url, silent);
  return { url, [Symbol.asyncDispose]: drop };
}

/** A process with a relay and consumers. */
export interface Replica {
  /** Something was emitted. */
  wake(): void;
  kill(signal: NodeJS.Signals): void;
  /** Resolves with the exit code, or the name of the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
}

/** Resolves when it runs, or has been killed already. */
export async function startReplica(options: ReplicaOptions): Promise<Replica> {
  const program = join(top, "tests/support/programs/event-replica.ts");
  const child: ChildProcess = fork(program, [JSON.stringify(options)], { execArgv: [] });
  const exited = once(child, "exit").then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
  await Promise.race([once(child, "message"), exited]);
  return {
    wake() {
      if (child.connected) child.send("wake", () => undefined);
    },
    kill: (signal) => {
      child.kill(signal);
    },
    exited,
  };
}

/** Keeps a replica running: one that is killed is started again. */
export interface KeptReplica {
  readonly kills: () => number;
  wake(): void;
  kill(signal: NodeJS.Signals): void;
  /** Ends it for good. */
  close(): Promise<void>;
}

/** @param optionsOf of the first, second, … start */
export async function keepReplica(optionsOf: (start: number) => ReplicaOptions): Promise<KeptReplica> {
  let kills = 0;
  let closed = false;
  let current = await startReplica(optionsOf(0));
  const kept = (async () => {
    for (;;) {
      const code = await current.exited;
      if (closed) return;
      if (code !== "SIGKILL") throw new Error(`a replica ended with ${String(code)}`);
      kills += 1;
      current = await startReplica(optionsOf(kills));
      if (closed) current.kill("SIGTERM");
    }
  })();
  kept.catch(() => undefined);
  return {
    kills: () => kills,
    wake: () => {
      current.wake();
    },
    kill: (signal) => {
      current.kill(signal);
    },
    async close() {
      closed = true;
      current.kill("SIGTERM");
      await kept;
    },
  };
}
