import { setTimeout as delay } from "node:timers/promises";
import type { DescMethod } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Level } from "@bufbuild/protobuf/wkt";
import type { Transport } from "@connectrpc/connect";
import { PeerError } from "../errors.ts";

const attempts = 3;
/** Milliseconds: the first pause is between none and this, the second between none and twice this. */
const pauseMs = 50;
/** Retries per call, over time. */
const ratio = 0.1;
const mostSaved = 10;

/**
 * Tries a unary call again that failed UNAVAILABLE, where that is safe: reads, and calls with an idempotency key. At
 * most three attempts, and over time at most one retry for ten calls, so that retries never multiply an overload. Only
 * the outermost caller in an installation wraps its transport in this.
 */
export function withRetries(transport: Transport, random: () => number = Math.random): Transport {
  let saved = mostSaved;
  return {
    stream: transport.stream.bind(transport),
    async unary(method, signal, timeoutMs, header, input, values) {
      const startedAt = performance.now();
      saved = Math.min(mostSaved, saved + ratio);
      for (let attempt = 1; ; attempt += 1) {
        const left =
          timeoutMs === undefined ? undefined : Math.max(1, Math.ceil(timeoutMs - (performance.now() - startedAt)));
        try {
          return await transport.unary(method, signal, left, header, input, values);
        } catch (error) {
          const pause = random() * pauseMs * attempt;
          const late =
            left !== undefined && timeoutMs !== undefined && performance.now() - startedAt + pause >= timeoutMs;
          if (attempt >= attempts || late || saved < 1 || !isUnavailable(error) || !isRepeatable(method, input))
            throw error;
          saved -= 1;
          await delay(pause, undefined, signal ? { signal } : undefined).catch(() => {
            throw error;
          });
        }
      }
    },
  };
}

function isUnavailable(error: unknown): boolean {
  return error instanceof PeerError && error.error.kind === "unavailable";
}

/** Whether a second call has no second effect. */
export function isRepeatable(method: DescMethod, input: unknown): boolean {
  if (method.idempotency !== Level.IDEMPOTENCY_UNKNOWN) return true;
  const key: unknown = (input as { idempotencyKey?: unknown } | null)?.idempotencyKey;
  return typeof key === "string" && key !== "";
}
