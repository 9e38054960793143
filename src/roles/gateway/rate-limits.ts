import { isIPv6 } from "node:net";
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { Call } from "../../platform/call.ts";
import { subjectKey } from "../../platform/call.ts";
import { errors } from "../../platform/errors.ts";
import type { RateLimit } from "../../platform/rules/rate-limit.ts";
import { rateLimit } from "../../platform/rules/rate-limit.ts";

/** Calls of a machine, or of a user with permissions, count so much less: they work for the shop. */
const STAFF_FACTOR = 10;

/** Whether callers from this machine are limited as others are. */
export interface RateLimitOptions {
  readonly loopback: boolean;
}

/** Counts a call. @throws AppError RATE_LIMITED with the time until the next may come */
export type LimitRate = (call: Call) => Promise<void>;

/** Counts calls in this process, by method and caller, in windows that begin with the first call. */
export function createRateLimits({ loopback }: RateLimitOptions): LimitRate {
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

  return async (call) => {
    if (!loopback && isLoopback(call.clientAddress)) return;
    const limit = rateLimit(call.method);
    const calls = limit.calls * (isStaff(call) ? STAFF_FACTOR : 1);
    try {
      await limiterOf(limit, calls).consume(callerOf(call));
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) throw refused;
      const description = `At most ${String(calls)} calls in ${String(limit.seconds)} s.`;
      throw errors.RATE_LIMITED({ retryAfterMs: refused.msBeforeNext, quota: { subject: limit.name, description } });
    }
  };
}

function isStaff({ subject }: Call): boolean {
  return subject.kind === "machine" || (subject.kind === "user" && subject.permissions.length > 0);
}

/** Who is counted: whoever has proved who they are, else the address; of IPv6 the network, which is one client's. */
function callerOf({ subject, clientAddress = "" }: Call): string {
  return subjectKey(subject) || (isIPv6(clientAddress) ? networkOf(clientAddress) : clientAddress);
}

/** The first 64 bits. */
function networkOf(address: string): string {
  const [head = "", tail] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  if (tail !== undefined) {
    const last = tail === "" ? [] : tail.split(":");
    while (groups.length + last.length < 8) groups.push("0");
    groups.push(...last);
  }
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":");
}

function isLoopback(address = ""): boolean {
  return address === "::1" || /^(?:::ffff:)?127\./.test(address);
}
