import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import type { Interceptor, UnaryRequest } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { reasonOf } from "./errors.ts";
import { takesKeys } from "./idempotency-keys.ts";
import { waitAfter } from "./wait.ts";

const MOST_ATTEMPTS = 3;

/** Of the calls that may be repeated; a shop in trouble is not asked three times as much. */
const BUDGET = { atOnce: 10, perCall: 0.1 };

/**
 * Repeats calls that failed for a moment: reads, and changes that have an idempotency key, so that they take effect once
 * however often they arrive.
 */
export function createRetry(): Interceptor {
  let budget = BUDGET.atOnce;
  return (next) => async (request) => {
    if (request.stream || !isRepeatable(request)) return next(request);
    budget = Math.min(budget + BUDGET.perCall, BUDGET.atOnce);
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await next(request);
      } catch (error) {
        if (attempt === MOST_ATTEMPTS || request.signal.aborted || !isPassing(error) || budget < 1) throw error;
        budget -= 1;
        await waitAfter(error, attempt, request.signal);
      }
    }
  };
}

/** Whether the same call may do better in a moment. */
export function isPassing(error: unknown): boolean {
  return ConnectError.from(error).code === Code.Unavailable || reasonOf(error) === "IDEMPOTENCY_IN_PROGRESS";
}

function isRepeatable({ method }: UnaryRequest): boolean {
  return method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS || takesKeys(method.input);
}
