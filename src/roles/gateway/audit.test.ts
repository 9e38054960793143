import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { expect, test, vi } from "vitest";
import type { AuditRecord, ChainedRecord } from "./audit-chain.ts";
import { emptyChain } from "./audit-chain.ts";
import { createAudit } from "./audit.ts";

function record(request_id: string): AuditRecord {
  return {
    occurred_at: new Date(),
    subject: "ada",
    method: "m",
    request_id,
    client_address: "192.0.2.1",
    phase: "outcome",
    code: "ok",
    reason: null,
    resource_ids: {},
    received: 1n,
    sent: 1n,
  };
}

/** An audit log on a store that can be told to fail, and what it stored and logged. */
function setUp(capacity = 100) {
  const stored: ChainedRecord[] = [];
  const batches: number[] = [];
  const lines: string[] = [];
  const store = { isAway: false, isSlow: false };
  const audit = createAudit({
    chain: emptyChain("chain", "gateway"),
    capacity,
    log: pino({ level: "info" }, { write: (line: string) => lines.push(line) }),
    async write(entries) {
      await delay(store.isSlow ? 60_000 : 5, undefined, { ref: false });
      if (store.isAway) throw new Error("away");
      batches.push(entries.length);
      stored.push(...entries);
    },
  });
  const add = (request: string) => {
    audit.reserve(1);
    audit.add(record(request));
  };
  return { audit, store, stored, batches, lines, add, requests: () => stored.map(({ request_id }) => request_id) };
}

test("entries are stored together, soon", async () => {
  const { add, requests, batches } = setUp();
  for (const request of ["a", "b", "c"]) add(request);
  await delay(50);
  expect(requests()).toEqual([]);
  await vi.waitFor(() => expect(requests()).toEqual(["a", "b", "c"]), { timeout: 800 });
  expect(batches).toEqual([3]);
});

test("many entries are stored at once, 500 a time", async () => {
  const { add, batches, stored } = setUp(2_000);
  for (let n = 0; n < 1_200; n += 1) add(String(n));
  await vi.waitFor(() => expect(batches).toEqual([500, 500, 200]), { timeout: 2_000 });
  expect(stored.map(({ position }) => Number(position))).toEqual(Array.from({ length: 1_200 }, (_, n) => n + 1));
});

test("a call that waits for its entry does not wait for the 200 ms", async () => {
  const { audit, requests, add } = setUp();
  add("before");
  audit.reserve(1);
  const startedAt = performance.now();
  await audit.addDurably(record("durable"));
  expect(performance.now() - startedAt).toBeLessThan(180);
  expect(requests()).toEqual(["before", "durable"]);
});

test("over its capacity nothing is taken; room is given back when entries are stored, or not needed", async () => {
  const { audit, add, store } = setUp(10);
  store.isAway = true;
  for (let n = 0; n < 8; n += 1) add(String(n));
  audit.reserve(2);
  expect(() => audit.reserve(1)).toThrow(expect.objectContaining({ reason: "OVERLOADED" }));
  audit.release(2);
  audit.reserve(2);
  expect(() => audit.reserve(1)).toThrow(expect.objectContaining({ reason: "OVERLOADED" }));
  store.isAway = false;
  await vi.waitFor(() => audit.reserve(8), { timeout: 2_000 });
  expect(() => audit.reserve(1)).toThrow(expect.objectContaining({ reason: "OVERLOADED" }));
});

test("while the store is away entries wait, in their order; it is told once", async () => {
  const { audit, add, store, requests, lines } = setUp();
  store.isAway = true;
  add("a");
  await delay(300);
  add("b");
  audit.reserve(1);
  await expect(audit.addDurably(record("c"))).rejects.toMatchObject({ reason: "PEER_DOWN" });
  await delay(600);
  expect(requests()).toEqual([]);
  store.isAway = false;
  await vi.waitFor(() => expect(requests()).toEqual(["a", "b", "c"]), { timeout: 2_000 });
  expect(lines.filter((line) => line.includes("cannot be stored"))).toHaveLength(1);
  expect(lines.filter((line) => line.includes("stored again"))).toHaveLength(1);
});

test("a store that is silent does not hold a call that waits for its entry", async () => {
  const { audit, store } = setUp();
  store.isSlow = true;
  audit.reserve(1);
  await expect(audit.addDurably(record("a"))).rejects.toMatchObject({ reason: "PEER_DOWN" });
});

test("at the end all is stored, and the log has the last hash", async () => {
  const { audit, add, stored, lines } = setUp(2_000);
  for (let n = 0; n < 1_200; n += 1) add(String(n));
  await audit.close();
  expect(stored).toHaveLength(1_200);
  expect(lines.at(-1)).toContain(stored.at(-1)?.hash.toString("hex"));
  add("late");
  expect(lines.at(-1)).toMatch(/late.*an audit entry was not stored/);
});

test.each(["isAway", "isSlow"] as const)("what cannot be stored at the end is in the log: %s", async (trouble) => {
  const { audit, add, store, lines } = setUp(2_000);
  store[trouble] = true;
  for (let n = 0; n < 700; n += 1) add(`request-${String(n)}`);
  const startedAt = performance.now();
  await audit.close();
  // Boot gives a role three seconds to end.
  expect(performance.now() - startedAt).toBeLessThan(2_900);
  const logged = lines.filter((line) => line.includes("an audit entry was not stored"));
  expect(new Set(logged.map((line) => /request-\d+/.exec(line)?.[0])).size).toBe(700);
  expect(lines.join("")).not.toContain("192.0.2.1");
});
