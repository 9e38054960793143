import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createCallGate } from "./call-gate.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const patient = new AbortController().signal;
const overloaded = { kind: "unavailable", reason: "OVERLOADED", details: { retryAfterMs: 1_000 } };

/** How the entries stand: a number of those that are in, the reasons of those that were refused. */
async function follow(...entries: Promise<() => void>[]) {
  const leaves: (() => void)[] = [];
  const refused: unknown[] = [];
  for (const entry of entries) {
    entry.then(
      (leave) => leaves.push(leave),
      (error: unknown) => refused.push(error),
    );
  }
  await vi.advanceTimersByTimeAsync(0);
  return { leaves, refused };
}

test("so many are inside, so many wait in order, and the rest is refused at once", async () => {
  const enter = createCallGate({ atOnce: 2, mostWaiting: 2, waitMs: 1_000 });
  const inside = await follow(enter(patient), enter(patient));
  const third = await follow(enter(patient));
  const fourth = await follow(enter(patient));
  await expect(enter(patient)).rejects.toMatchObject(overloaded);
  expect([inside.leaves.length, third.leaves.length, fourth.leaves.length]).toEqual([2, 0, 0]);
  inside.leaves[0]?.();
  await vi.advanceTimersByTimeAsync(0);
  expect([third.leaves.length, fourth.leaves.length]).toEqual([1, 0]);
  // Its place went to the third; the next who comes waits behind the fourth.
  const fifth = await follow(enter(patient));
  expect(fifth.leaves).toHaveLength(0);
  inside.leaves[1]?.();
  third.leaves[0]?.();
  await vi.advanceTimersByTimeAsync(0);
  expect([fourth.leaves.length, fifth.leaves.length]).toEqual([1, 1]);
  fourth.leaves[0]?.();
  fifth.leaves[0]?.();
  expect((await follow(enter(patient), enter(patient))).leaves).toHaveLength(2);
});

test("whoever has waited long enough is refused, and keeps no place", async () => {
  const enter = createCallGate({ atOnce: 1, mostWaiting: 1, waitMs: 1_000 });
  const [leave] = (await follow(enter(patient))).leaves;
  const waiting = await follow(enter(patient));
  await vi.advanceTimersByTimeAsync(999);
  expect(waiting.refused).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(waiting.refused).toMatchObject([overloaded]);
  // There is room to wait again, and the place is handed to who still wants it.
  const next = await follow(enter(patient));
  leave?.();
  await vi.advanceTimersByTimeAsync(5_000);
  expect([next.leaves.length, next.refused.length, waiting.leaves.length]).toEqual([1, 0, 0]);
});

test("whoever is gone is not let in, and a place that comes free at that moment is not lost", async () => {
  const enter = createCallGate({ atOnce: 1, mostWaiting: 5, waitMs: 1_000 });
  const [leave] = (await follow(enter(patient))).leaves;
  const gone = new AbortController();
  const waiting = await follow(enter(gone.signal));
  gone.abort(new Error("gone"));
  leave?.();
  const next = await follow(enter(patient));
  expect(waiting.refused).toEqual([new Error("gone")]);
  expect(next.leaves).toHaveLength(1);
  // Nor does one wait that was gone before.
  await expect(enter(gone.signal)).rejects.toThrow("gone");
  next.leaves[0]?.();
  expect((await follow(enter(patient))).leaves).toHaveLength(1);
});
