import { setTimeout as delay } from "node:timers/promises";

/** Resolves when the condition holds, looking again every 20 ms. @throws Error where it does not within `withinMs` */
export async function until(condition: () => boolean | Promise<boolean>, withinMs = 10_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`the condition did not come to hold: ${condition.toString()}`);
    await delay(20);
  }
}
