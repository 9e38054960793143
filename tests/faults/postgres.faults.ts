import { afterAll, expect, test } from "vitest";
import { until } from "../support/conditions.ts";
import type { Installation, Topology } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import { startOwnPostgres } from "../support/own-postgres.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import type { Load } from "./load.ts";
import { addGoods, startLoad } from "./load.ts";
import { nothingUnlike, unlike } from "./orders.ts";
import { printTable, rounds, spread, tally } from "./report.ts";

const startedAt = performance.now();

/**
 * Milliseconds from the moment when Postgres takes connections until each kind of call succeeds again. The watch is the last:
 * an order that was being carried out goes on when its lease of ten seconds is over.
 */
const BACK_WITHIN_MS = 15_000;
/** Each of them has met the absence before it ends. */
const meeting = ["getUser", "getProduct", "getOrder", "listProducts", "createOrder", "order of a stream", "watchOrder"];
/** As an operator stops it, and as a crash does. */
const modes = ["fast", "immediate"] as const;
const backs = modes.map((mode) => `back after ${mode}`);
const table: string[][] = [["topology", "rounds", "calls", "failed meanwhile", ...backs, "orders", "replayed"]];

afterAll(() => {
  printTable("Postgres taken away under load; milliseconds: least / median / most", startedAt, table);
});

test.each(topologies)("Postgres goes and comes back under load, in %s", async (topology) => {
  const times = Math.ceil(rounds / 5);
  await using postgres = await startOwnPostgres();
  await using shop = await startInstallation(topology, {}, postgres.databases);
  const pids = pidsOf(shop);
  const load = startLoad(shop.url, await addGoods(clientsOf(protocols.gRPC(shop.url))));
  const back = { fast: [] as number[], immediate: [] as number[] };
  for (const mode of Array.from({ length: times }, () => modes).flat()) {
    await load.succeeds(1);
    const placed = load.acknowledged.size;
    await until(() => load.watching() > 0 && load.acknowledged.size > placed + 10);
    await postgres.stop(mode);
    await metBy(load);
    for (const url of portsOf(shop, topology)) {
      expect((await fetch(`${url}/livez`)).status).toBe(200);
      expect(await readiness(url)).toEqual({ status: 503, checks: expect.stringContaining("database: ") as string });
    }
    await postgres.start();
    const servesAt = performance.now();
    await load.succeeds(1);
    back[mode].push(performance.now() - servesAt);
    for (const url of portsOf(shop, topology)) await until(async () => (await readiness(url)).status === 200);
  }
  await load.stop();

  const seen = load.failures.map(
    ({ code, reasons, hasRetryInfo }) => `${code} ${reasons.join("+")}${hasRetryInfo ? "" : " without RetryInfo"}`,
  );
  const calls = [...load.done.values()].reduce((sum, count) => sum + count, 0);
  table.push([
    topology,
    String(times),
    String(calls),
    tally(seen),
    ...modes.map((mode) => spread(back[mode])),
    String(load.acknowledged.size),
    String(load.replayed.length),
  ]);
  expect([...new Set(seen)]).toEqual(["Unavailable PEER_DOWN"]);
  expect(load.violations).toEqual([]);
  expect(await unlike(postgres.databases["order"]?.url ?? "", load)).toEqual(nothingUnlike);
  expect(Math.max(...back.fast, ...back.immediate)).toBeLessThan(BACK_WITHIN_MS);
  // No process was started again, and none calls it a defect of its own.
  expect(pidsOf(shop)).toEqual(pids);
  for (const { pid } of Object.values(shop.processes)) expect(() => process.kill(pid, 0)).not.toThrow();
  for (const { log } of Object.values(shop.processes)) {
    expect(log.filter(({ level }) => level === "error")).toEqual([]);
  }
});

/** Resolves when each kind of call has failed a few times more. */
async function metBy({ failures }: Load): Promise<void> {
  const before = failures.length;
  await until(() => {
    const failed = failures.slice(before).map(({ kind }) => kind);
    return meeting.every((kind) => failed.filter((other) => other === kind).length >= 3);
  }, 20_000);
}

function pidsOf(shop: Installation): number[] {
  return Object.values(shop.processes).map(({ pid }) => pid);
}

/** Where the processes say how they are. */
function portsOf(shop: Installation, topology: Topology): string[] {
  if (topology === "one process") return [shop.url];
  return Object.keys(shop.processes).map((role) => `http://127.0.0.1:${String(shop.processes[role]?.ports[role])}`);
}

async function readiness(url: string): Promise<{ status: number; checks: string }> {
  const answer = await fetch(`${url}/readyz`);
  const { checks } = (await answer.json()) as { checks: Record<string, string> };
  return { status: answer.status, checks: Object.values(checks).join("; ") };
}
