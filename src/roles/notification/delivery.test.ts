import { expect, test } from "vitest";
import { MOST_ATTEMPTS, ruleOf, waitAfter } from "./delivery.ts";

test("attempts wait from ten seconds to an hour, for about a day", () => {
  const waits = Array.from({ length: MOST_ATTEMPTS }, (_, index) => waitAfter(index + 1));
  expect(waits.slice(0, 4)).toEqual([10_000, 20_000, 40_000, 80_000]);
  expect(waits.at(-2)).toBe(3_600_000);
  expect(waits.at(-1)).toBeUndefined();
  const hours = waits.reduce<number>((sum, wait) => sum + (wait ?? 0), 0) / 3_600_000;
  expect(hours).toBeGreaterThan(22);
  expect(hours).toBeLessThan(26);
});

test("a mail with a link for a password goes stale sooner than the others", () => {
  expect(ruleOf("reset-password").staleAfterMs).toBe(3_600_000);
  expect(ruleOf("welcome").staleAfterMs).toBe(7 * 24 * 3_600_000);
});
