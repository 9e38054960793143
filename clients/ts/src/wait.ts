import { Code, ConnectError } from "@connectrpc/connect";
import { retryDelayOf } from "./errors.ts";

const FIRST_MS = 100;
const MOST_MS = 5_000;

/**
 * Waits before something is tried again: as long as the error says at least, else twice as long as the time before. Half
 * of it is left to chance, so that clients that failed together do not come back together.
 * @param failures how often it failed, from 1
 * @throws ConnectError canceled, or with what the signal was given
 */
export async function waitAfter(error: unknown, failures: number, signal?: AbortSignal): Promise<void> {
  const own = Math.min(FIRST_MS * 2 ** (failures - 1), MOST_MS);
  const ms = (retryDelayOf(error) ?? own / 2) + (Math.random() * own) / 2;
  if (signal?.aborted) throw ConnectError.from(signal.reason, Code.Canceled);
  await new Promise<void>((resolve, reject) => {
    const leave = () => {
      clearTimeout(timer);
      reject(ConnectError.from(signal?.reason, Code.Canceled));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", leave);
      resolve();
    }, ms);
    signal?.addEventListener("abort", leave, { once: true });
  });
}

/**
 * Waits for what goes on for others, too, even where this caller does not stay.
 * @throws ConnectError canceled, or with what the signal was given
 */
export async function unlessAborted<T>(outcome: Promise<T>, signal: AbortSignal): Promise<T> {
  let leave = () => {};
  const left = new Promise<never>((_resolve, reject) => {
    leave = () => reject(ConnectError.from(signal.reason, Code.Canceled));
    if (signal.aborted) leave();
    else signal.addEventListener("abort", leave, { once: true });
  });
  try {
    return await Promise.race([outcome, left]);
  } finally {
    signal.removeEventListener("abort", leave);
  }
}
