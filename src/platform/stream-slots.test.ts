import { expect, test } from "vitest";
import { createStreamSlots } from "./stream-slots.ts";

const never = new AbortController().signal;

test("each caller has so many, and gets back what ended", async () => {
  const open = createStreamSlots(2);
  const first = await open("ada", never);
  await open("ada", never);
  await open("bob", never);
  const tooMany = expect.objectContaining({
    kind: "resource_exhausted",
    reason: "RATE_LIMITED",
    details: expect.objectContaining({
      retryAfterMs: 1_000,
      quota: { subject: "streams", description: "At most 2 streams open at once." },
    }),
  });
  await expect(open("ada", never)).rejects.toThrow(tooMany);
  first();
  (await open("ada", never))();
  await open("ada", never);
  await expect(open("ada", never)).rejects.toThrow(tooMany);
  await open("bob", never);
});

test("a handful begins at once, and the others one after the other; nobody else waits for them", async () => {
  const open = createStreamSlots(100);
  const began: number[] = [];
  const startedAt = performance.now();
  const all = Array.from({ length: 20 }, async (_, n) => {
    await open("ada", never);
    began.push(n);
    return performance.now() - startedAt;
  });
  await open("bob", never);
  expect(began).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  const tookMs = await Promise.all(all);
  expect(began).toEqual(Array.from({ length: 20 }, (_, n) => n));
  // 12 of them, 10 ms apart; timers may be a millisecond early.
  expect(tookMs.at(-1)).toBeGreaterThan(110);
});

test("who leaves while it waits has no slot", async () => {
  const open = createStreamSlots(9);
  for (let n = 0; n < 8; n += 1) await open("ada", never);
  const leaving = new AbortController();
  const left = open("ada", leaving.signal);
  const reason = new Error("left");
  leaving.abort(reason);
  await expect(left).rejects.toBe(reason);
  await open("ada", never);
});
