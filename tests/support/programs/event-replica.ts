import { pino } from "pino";
import { openDatabase } from "../../../src/platform/database.ts";
import type { Group } from "../../../src/platform/events/bus.ts";
import { openBus } from "../../../src/platform/events/bus.ts";
import { startInbox } from "../../../src/platform/events/inbox.ts";
import { startRelay } from "../../../src/platform/events/relay.ts";
import { withChaos } from "../chaos-bus.ts";
import { effectConsumer } from "../events-effects.ts";
import { randomOf } from "../events-random.ts";

/** What a replica runs: the relay of users, consumers, or both. */
export interface ReplicaOptions {
  readonly busUrl: string;
  readonly usersUrl: string;
  readonly groups: readonly Group[];
  /** Databases of the groups that are consumed here, by name. */
  readonly consumers: Readonly<Record<string, string>>;
  readonly leaseMs: number;
  /** Trouble on the bus that follows from a seed; `kill` is the share of steps of publishing that kill the process. */
  readonly chaos?: {
    readonly seed: number;
    readonly duplicate: number;
    readonly drop: number;
    readonly reorder: number;
    readonly kill: number;
  };
}

const { busUrl, usersUrl, groups, consumers, leaseMs, chaos } = JSON.parse(process.argv[2] ?? "") as ReplicaOptions;
// What goes wrong is on purpose then.
const log = pino({ level: chaos ? "silent" : "warn" });
const plain = await openBus({ url: busUrl, name: "replica", log });
const random = randomOf(chaos?.seed ?? 0);
const bus = chaos
  ? withChaos(plain, {
      ...chaos,
      unacknowledged: 0,
      random,
      step() {
        if (random() < chaos.kill) process.kill(process.pid, "SIGKILL");
      },
    })
  : plain;

const users = openDatabase<unknown>({ url: usersUrl, role: "user", log });
const relay = startRelay({ db: users.db, role: "user", bus, groups, log, leaseMs });
const running = groups.flatMap((group) => {
  const url = consumers[group.name];
  if (url === undefined) return [];
  const database = openDatabase<unknown>({ url, role: group.name, log });
  const inbox = startInbox({ db: database.db, group, consumers: [effectConsumer()], bus, log });
  return [{ inbox, database }];
});
process.send?.("ready");

// There is an outbox in the process that emits; its wake is passed on as a message.
process.on("message", () => {
  relay.wake();
});
process.once("SIGTERM", () => {
  void (async () => {
    await Promise.all(running.map(({ inbox }) => inbox.close()));
    await relay.close();
    await Promise.all([plain.close(), users.close(), ...running.map(({ database }) => database.close())]);
    process.exit(0);
  })();
});
