import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { expect, onTestFinished, test, vi } from "vitest";
import { newId } from "../../platform/id.ts";
import type { LiveKey } from "./api-keys.ts";
import { createApiKeys } from "./api-keys.ts";

const aKey = (): LiveKey => ({ id: newId(), permissions: ["a.b"], secret_hash: Buffer.alloc(32), expires_at: null });

/** Keys on a store that can be told to fail; counts its queries. */
function setUp(...live: LiveKey[]) {
  const store = {
    keys: new Map(live.map((key) => [key.id, key])),
    isAway: false,
    takesMs: 5,
    queries: 0,
    running: 0,
    most: 0,
  };
  const written: ReadonlyMap<string, Date>[] = [];
  const keys = createApiKeys({
    log: pino({ level: "silent" }),
    usesEveryMs: 50,
    async read(ids) {
      store.queries += 1;
      store.running += 1;
      store.most = Math.max(store.most, store.running);
      const found = ids.flatMap((id) => store.keys.get(id) ?? []);
      await delay(store.takesMs);
      store.running -= 1;
      if (store.isAway) throw new Error("away");
      return found;
    },
    async writeUses(uses) {
      if (store.isAway) throw new Error("away");
      written.push(uses);
    },
  });
  onTestFinished(() => keys.close());
  return { keys, store, written };
}

test("a key in use is read before its time is over: its calls do not wait", async () => {
  const key = aKey();
  const { keys, store } = setUp(key);
  await keys.find(key.id);
  store.takesMs = 200;
  let longest = 0;
  for (const end = performance.now() + 1_500; performance.now() < end; await delay(20)) {
    const startedAt = performance.now();
    expect(await keys.find(key.id)).toBe(key);
    longest = Math.max(longest, performance.now() - startedAt);
  }
  expect(longest).toBeLessThan(150);
  expect(store.queries).toBeGreaterThanOrEqual(2);
  expect(store.queries).toBeLessThanOrEqual(5);
});

test("a key that was revoked elsewhere ends within a second where it is in use", async () => {
  const key = aKey();
  const { keys, store } = setUp(key);
  await keys.find(key.id);
  store.keys.clear();
  const revokedAt = performance.now();
  while ((await keys.find(key.id)) !== undefined) await delay(10);
  expect(performance.now() - revokedAt).toBeLessThan(1_000);
});

test("a key that was revoked elsewhere is refused to its first call a second later", async () => {
  const key = aKey();
  const { keys, store } = setUp(key);
  await keys.find(key.id);
  store.keys.clear();
  await delay(1_000);
  expect(await keys.find(key.id)).toBeUndefined();
});

test("a key that was revoked here ends at once, also where it is being read", async () => {
  const key = aKey();
  const { keys } = setUp(key);
  await keys.find(key.id);
  await delay(500);
  await keys.find(key.id);
  keys.revoked(key.id);
  expect(await keys.find(key.id)).toBeUndefined();
  await delay(50);
  expect(await keys.find(key.id)).toBeUndefined();
});

test("what listens is told when the key ends, once; late listeners too", async () => {
  const key = aKey();
  const { keys, store } = setUp(key);
  await keys.find(key.id);
  const told = vi.fn<() => void>();
  const notTold = vi.fn<() => void>();
  keys.onRevoked(key.id, told);
  keys.onRevoked(key.id, notTold)();
  await delay(100);
  expect(told).not.toHaveBeenCalled();
  store.keys.clear();
  await vi.waitFor(() => expect(told).toHaveBeenCalledOnce());
  const late = vi.fn<() => void>();
  keys.onRevoked(key.id, late);
  await vi.waitFor(() => expect(late).toHaveBeenCalledOnce());
  await delay(600);
  expect(told).toHaveBeenCalledOnce();
  expect(notTold).not.toHaveBeenCalled();
});

test("invented keys: one query at a time, and none again for one that was looked for", async () => {
  const { keys, store } = setUp();
  const invented = Array.from({ length: 2_000 }, newId);
  await Promise.all(invented.map((id) => keys.find(id)));
  expect(store).toMatchObject({ queries: 5, most: 1 });
  await Promise.all(invented.map((id) => keys.find(id)));
  expect(store.queries).toBe(5);
});

test("more than can be read are refused", async () => {
  const { keys } = setUp();
  const outcomes = await Promise.allSettled(Array.from({ length: 8_000 }, () => keys.find(newId())));
  const refused = outcomes.filter(({ status }) => status === "rejected");
  expect(refused.length).toBeGreaterThan(2_000);
  expect(refused[0]).toMatchObject({ reason: { reason: "OVERLOADED" } });
});

test("where keys cannot be read, nobody is let in on what was known a second ago", async () => {
  const key = aKey();
  const { keys, store } = setUp(key);
  await keys.find(key.id);
  store.isAway = true;
  expect(await keys.find(key.id)).toBe(key);
  await delay(1_000);
  await expect(keys.find(key.id)).rejects.toThrow("away");
  store.isAway = false;
  expect(await keys.find(key.id)).toBe(key);
});

test("uses are written together, again where that failed, and at the end", async () => {
  const { keys, store, written } = setUp();
  keys.used("a", new Date(1));
  keys.used("a", new Date(2));
  keys.used("b", new Date(3));
  await vi.waitFor(() =>
    expect(written).toEqual([
      new Map([
        ["a", new Date(2)],
        ["b", new Date(3)],
      ]),
    ]),
  );
  store.isAway = true;
  keys.used("a", new Date(4));
  await delay(120);
  store.isAway = false;
  await vi.waitFor(() => expect(written.at(-1)).toEqual(new Map([["a", new Date(4)]])));
  keys.used("c", new Date(5));
  await keys.close();
  expect(written.at(-1)).toEqual(new Map([["c", new Date(5)]]));
});
