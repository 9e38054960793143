/** Wakes one loop. A wake that comes while nobody waits counts for the next wait. */
export interface Signal {
  wake(): void;
  /** Forgets the wakes so far: whoever looks now sees what they were for. */
  clear(): void;
  /** Resolves at a wake since `clear`, or after the given milliseconds. */
  wait(timeoutMs: number): Promise<void>;
}

export function createSignal(): Signal {
  let woken = false;
  let resume: (() => void) | undefined;
  return {
    wake() {
      woken = true;
      resume?.();
    },
    clear() {
      woken = false;
    },
    wait(timeoutMs) {
      if (woken) return Promise.resolve();
      return new Promise((resolve) => {
        const timer = setTimeout(() => resume?.(), timeoutMs);
        resume = () => {
          clearTimeout(timer);
          resume = undefined;
          resolve();
        };
      });
    },
  };
}
