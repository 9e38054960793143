import { setTimeout as delay } from "node:timers/promises";
import type { JobSpec } from "../load/jobs.ts";
import type { Arrivals, Window } from "../load/loops.ts";
import type { BareRequest } from "../load/bare-server.ts";
import type { Backlog, Round } from "./figures.ts";
import { runLoad } from "./load.ts";
import { cpuMs, machineCpuMs, rssMib, treeCpuMs } from "./machine.ts";
import { startProgram } from "./processes.ts";
import type { Shop } from "./shop.ts";

/** Milliseconds between looks at memory. */
const LOOK_MS = 200;
/** Milliseconds that orders get to be settled after a load. */
const DRAIN_MS = 180_000;

/** Runs a load, and measures what the processes of the shop, Postgres, the load generator and others take meanwhile. */
export async function load(
  shop: Shop,
  spec: JobSpec,
  arrivals: Arrivals,
  window: Window,
  others: Readonly<Record<string, number>> = {},
): Promise<Round> {
  const rss: Record<string, number> = {};
  const look = () => {
    for (const { name, server } of shop.processes) rss[name] = Math.max(rss[name] ?? 0, rssMib(server.pid));
  };
  const timer = setInterval(look, LOOK_MS);
  let before: Record<string, number> = {};
  let after: Record<string, number> = {};
  const tally = await runLoad(spec, arrivals, window, (pid) => ({
    begin: () => {
      before = cpuOf(shop, { ...others, load: pid });
    },
    end: () => {
      after = cpuOf(shop, { ...others, load: pid });
    },
  })).finally(() => {
    clearInterval(timer);
  });
  const taken = Object.entries(after).map(([name, ms]) => [name, ms - (before[name] ?? 0)] as const);
  const { machine = 0, ...own } = Object.fromEntries(taken);
  const ownMs = Object.values(own).reduce((sum, ms) => sum + ms, 0);
  const perThing = Object.entries(own).map(([name, ms]) => [name, (ms * 1_000) / Math.max(1, tally.done)] as const);
  const { done, ms, ...rest } = tally;
  return {
    ...rest,
    value: (done * 1_000) / ms,
    cpu: Object.fromEntries(perThing.filter(([, micros]) => micros >= 0.5)),
    otherCores: Math.max(0, machine - ownMs) / ms,
    rss,
  };
}

/** The same call answered with the same bytes by a process that does nothing else. */
export async function loadBareServer(
  shop: Shop,
  body: string,
  spec: JobSpec,
  callers: number,
  window: Window,
): Promise<Round> {
  if (spec.job !== "unary") throw new TypeError("a bare server answers unary calls");
  await using program = startProgram("bench/load/bare-server.ts");
  const listening = new Promise<number>((resolve) => {
    program.listen((message) => {
      resolve((message as { port: number }).port);
    });
  });
  program.send({ body } satisfies BareRequest);
  const port = await Promise.race([listening, program.failed]);
  const url = `http://127.0.0.1:${String(port)}${new URL(spec.options.url).pathname}`;
  const bare = { job: "unary", options: { ...spec.options, url } } as const;
  return await load(shop, bare, { kind: "closed", callers }, window, { "bare server": program.pid });
}

/** Milliseconds since each process began, and those of the machine. */
function cpuOf(shop: Shop, others: Readonly<Record<string, number>>): Record<string, number> {
  const roles = shop.processes.map(({ name, server }) => [name, server.pid] as const);
  const own = [...roles, ...Object.entries(others)].map(([name, pid]) => [name, cpuMs(pid)] as const);
  return { ...Object.fromEntries(own), postgres: treeCpuMs(shop.postgresPid), machine: machineCpuMs() };
}

/** Adds the rows that a round left in a table to what it shows. */
export async function withRows(shop: Shop, database: string, table: string, run: () => Promise<Round>): Promise<Round> {
  const count = async () => {
    const [row] = await shop.query<{ count: string }>(database, `select count(*) from ${table}`);
    return Number(row?.count);
  };
  const before = await count();
  const round = await run();
  return { ...round, rows: (await count()) - before };
}

/** Adds the orders that were not settled when the load ended, and waits until they are. */
export async function withBacklog(shop: Shop, run: () => Promise<Round>): Promise<Round> {
  const round = await run();
  const endedAt = performance.now();
  const { pending, oldestSeconds } = await pendingOrders(shop);
  for (;;) {
    const left = await pendingOrders(shop);
    const drainSeconds = (performance.now() - endedAt) / 1_000;
    const backlog: Backlog = { pending, oldestSeconds, drainSeconds };
    if (left.pending === 0) return { ...round, backlog };
    if (drainSeconds * 1_000 > DRAIN_MS) {
      return { ...round, backlog, notes: { ...round.notes, "still pending": left.pending } };
    }
    await delay(50);
  }
}

/** Has orders wait that are recorded meanwhile: what recording alone takes. They are carried out after it. */
export async function withPausedSagas<T>(shop: Shop, run: () => Promise<T>): Promise<T> {
  await shop.query(
    "order",
    `create function bench_pause() returns trigger language plpgsql as
       $$ begin new.due_at := new.due_at + interval '1 day'; return new; end $$;
     create trigger bench_pause before insert on sagas for each row execute function bench_pause()`,
  );
  try {
    return await run();
  } finally {
    await shop.query("order", "drop trigger bench_pause on sagas; drop function bench_pause");
    await shop.query(
      "order",
      "update sagas set due_at = clock_timestamp() where finished_at is null and due_at > now()",
    );
  }
}

async function pendingOrders(shop: Shop): Promise<{ pending: number; oldestSeconds: number }> {
  const [row] = await shop.query<{ pending: string; oldest: string }>(
    "order",
    `select count(*) as pending, coalesce(extract(epoch from now() - min(created_at)), 0) as oldest
     from orders where state = 'PENDING'`,
  );
  return { pending: Number(row?.pending), oldestSeconds: Number(row?.oldest) };
}
