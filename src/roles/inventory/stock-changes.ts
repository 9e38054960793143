/** Tells of changes of stock within this process, as a hint: who watches looks at the database then. */
export interface StockChanges {
  announce(skus: Iterable<string>): void;
  /** Resolves when one of the SKUs changes, after the given milliseconds, or when the signal aborts. Never rejects. */
  next(skus: ReadonlySet<string>, timeoutMs: number, signal: AbortSignal): Promise<void>;
}

export function createStockChanges(): StockChanges {
  const waiting = new Set<{ readonly skus: ReadonlySet<string>; readonly wake: () => void }>();
  return {
    announce(skus) {
      const changed = [...skus];
      for (const { skus: watched, wake } of waiting) {
        if (changed.some((sku) => watched.has(sku))) wake();
      }
    },
    next: (skus, timeoutMs, signal) =>
      new Promise((resolve) => {
        const waiter = { skus, wake };
        const timer = setTimeout(wake, timeoutMs);
        waiting.add(waiter);
        signal.addEventListener("abort", wake, { once: true });
        function wake() {
          clearTimeout(timer);
          waiting.delete(waiter);
          signal.removeEventListener("abort", wake);
          resolve();
        }
        if (signal.aborted) wake();
      }),
  };
}
