import type { Logger } from "../logger.ts";

/** Tells of an outage once where it begins and once where it is over, however many loops run into it. */
export interface Outage {
  /** One part, named, fails. */
  failed(part: string, error: unknown): void;
  /** That part works, or is gone. */
  works(part: string): void;
}

export interface OutageOptions {
  readonly log: Logger;
  readonly begins: string;
  readonly ends: string;
  /** Takes out of a text what no log may show. */
  readonly redact?: (text: string) => string;
}

export function createOutage({ log, begins, ends, redact = (text) => text }: OutageOptions): Outage {
  const failing = new Set<string>();
  return {
    failed(part, error) {
      if (failing.size === 0) log.warn({ part, reason: redact(reasonOf(error)) }, begins);
      failing.add(part);
    },
    works(part) {
      if (failing.delete(part) && failing.size === 0) log.info(ends);
    },
  };
}

/** Connecting to a name with several addresses fails with an AggregateError, whose own message is empty. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === "") return error.errors.map(reasonOf).join("; ");
  return error instanceof Error ? error.message : String(error);
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;

/** Milliseconds to wait after so many failures in a row: 0.1 s at first, doubling up to 5 s. */
export function pauseAfter(failures: number): number {
  return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.max(0, failures - 1));
}
