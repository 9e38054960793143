import { expect, test } from "vitest";
import { createStockChanges } from "./stock-changes.ts";

/** Longer than a test may take: only a wake ends the wait. */
const LONG_MS = 600_000;

test("wakes those who watch one of the SKUs, and nobody else", async () => {
  const changes = createStockChanges();
  const woken: string[] = [];
  const watch = (name: string, skus: string[], signal: AbortSignal) =>
    changes.next(new Set(skus), LONG_MS, signal).then(() => woken.push(name));
  const gone = new AbortController();
  const waits = [
    watch("a", ["a"], gone.signal),
    watch("a and b", ["a", "b"], gone.signal),
    watch("c", ["c"], gone.signal),
  ];
  changes.announce(["b"]);
  await waits[1];
  expect(woken).toEqual(["a and b"]);
  changes.announce(["a", "x"]);
  await waits[0];
  expect(woken).toEqual(["a and b", "a"]);
  gone.abort();
  await waits[2];
  expect(woken).toEqual(["a and b", "a", "c"]);
});

test("does not wait where the time is over, or the caller has gone", async () => {
  const changes = createStockChanges();
  await changes.next(new Set(["a"]), 1, new AbortController().signal);
  await expect(changes.next(new Set(["a"]), LONG_MS, AbortSignal.abort())).resolves.toBeUndefined();
});
