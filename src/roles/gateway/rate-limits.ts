import type { DescMethod } from "@bufbuild/protobuf";
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { Call } from "../../platform/call.ts";
import { subjectKey } from "../../platform/call.ts";
import { clientNetworkOf, isLoopbackAddress } from "../../platform/client-address.ts";
import { errors } from "../../platform/errors.ts";
import { accessRule } from "../../platform/rules/access.ts";
import type { RateLimit } from "../../platform/rules/rate-limit.ts";
import { rateLimit } from "../../platform/rules/rate-limit.ts";

/** Calls of a machine, or of a user with permissions, count so much less: they work for the shop. */
const STAFF_FACTOR = 10;

/** Whose calls are limited in number: all, all but those from this machine, nobody's; see RATE_LIMITS. */
export type Limited = "all" | "others" | "off";

/** Whether a call is limited. */
export function isLimited(limited: Limited, { clientAddress = "" }: Call): boolean {
  return limited === "all" || (limited === "others" && !isLoopbackAddress(clientAddress));
}

/** Counts a call. @throws AppError RATE_LIMITED with the time until the next may come */
export type LimitRate = (call: Call) => Promise<void>;

/** Counts calls in this process, by method and caller, in windows that begin with the first call. */
export function createRateLimits(limited: Limited): LimitRate {
  const limiters = new Map<string, RateLimiterMemory>();

  function limiterOf({ name, seconds }: RateLimit, calls: number): RateLimiterMemory {
    const key = `${name} ${String(calls)}`;
    let limiter = limiters.get(key);
    if (!limiter) {
      limiter = new RateLimiterMemory({ points: calls, duration: seconds });
      limiters.set(key, limiter);
    }
    return limiter;
  }

  async function count(call: Call, caller: string, factor: number): Promise<void> {
    const limit = rateLimit(call.method);
    const calls = limit.calls * factor;
    try {
      await limiterOf(limit, calls).consume(caller);
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) throw refused;
      const description = `At most ${String(calls)} calls in ${String(limit.seconds)} s.`;
      throw errors.RATE_LIMITED({ retryAfterMs: refused.msBeforeNext, quota: { subject: limit.name, description } });
    }
  }

  return async (call) => {
    const { clientAddress = "", method, subject } = call;
    if (!isLimited(limited, call)) return;
    const who = subjectKey(subject);
    // Accounts cost nothing: what anybody may call is counted by address, whoever it is.
    const isByAddress = who === "" || (hasOwnLimit(method) && accessRule(method).level === "public");
    if (isByAddress) await count(call, clientNetworkOf(clientAddress), 1);
    if (who !== "") await count(call, who, isStaff(call) ? STAFF_FACTOR : 1);
  };
}

function hasOwnLimit(method: DescMethod): boolean {
  return rateLimit(method).name === method.name;
}

function isStaff({ subject }: Call): boolean {
  return subject.kind === "machine" || (subject.kind === "user" && subject.permissions.length > 0);
}
