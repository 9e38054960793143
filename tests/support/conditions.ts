import { setTimeout as delay } from "node:timers/promises";

/**
 * Resolves when the condition holds. It looks again after 20 ms, and after a long time every 100 ms: looking is work, also
 * for what is waited for. @throws Error where it does not hold within `withinMs`
 */
export async function until(condition: () => boolean | Promise<boolean>, withinMs = 10_000): Promise<void> {
  const startedAt = performance.now();
  while (!(await condition())) {
    const waitedMs = performance.now() - startedAt;
    if (waitedMs > withinMs) throw new Error(`the condition did not come to hold: ${condition.toString()}`);
    await delay(Math.min(Math.max(20, waitedMs / 10), 100));
  }
}
