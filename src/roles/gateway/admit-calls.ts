import { setTimeout as delay } from "node:timers/promises";
import { createCallGate } from "../../platform/call-gate.ts";
import type { Call } from "../../platform/call.ts";
import { subjectKey } from "../../platform/call.ts";
import { clientNetworkOf } from "../../platform/client-address.ts";
import { createStreamSlots } from "../../platform/stream-slots.ts";
import type { Limited } from "./rate-limits.ts";
import { createRateLimits, isLimited } from "./rate-limits.ts";
import { refuseOthersLogin } from "./tryout.ts";

/** Milliseconds that a unary call waits for its turn: less than a person or a client's retry would. */
const WAIT_MS = 1_000;
/** Milliseconds that a stream too many waits to be refused; it is told to come back later than that. */
const REFUSED_AFTER_MS = 500;

export interface AdmitOptions {
  /** Whether the shop is tried out: only this machine may log in. */
  readonly tryout: boolean;
  readonly limited: Limited;
  /** Streams that one caller may have open at once. */
  readonly streamsPerCaller: number;
  /** Unary calls that are carried out at once. */
  readonly callsAtOnce: number;
  /** Unary calls that may wait for their turn. */
  readonly callsWaiting: number;
}

/**
 * Lets calls in: not too many of one caller, and not more at once than this process carries. What it answers is called when
 * the call has ended. Streams are bounded by caller, for most of them wait; unary calls all together, for each is work.
 * @throws AppError ACCESS_DENIED, RATE_LIMITED, OVERLOADED
 */
export function admitCalls(options: AdmitOptions): (call: Call) => Promise<() => void> {
  const { tryout, limited, streamsPerCaller, callsAtOnce, callsWaiting } = options;
  const countCall = createRateLimits(limited);
  const openStream = createStreamSlots(streamsPerCaller);
  const enter = createCallGate({ atOnce: callsAtOnce, mostWaiting: callsWaiting, waitMs: WAIT_MS });

  return async (call) => {
    if (tryout) refuseOthersLogin(call);
    await countCall(call);
    if (call.method.methodKind === "unary") return enter(call.signal);
    if (!isLimited(limited, call)) return nothing;
    try {
      return openStream(callerOf(call));
    } catch (refusal) {
      // Else a client that opens the next stream as soon as one is refused keeps a core busy.
      await delay(REFUSED_AFTER_MS, undefined, { signal: call.signal }).catch(nothing);
      throw refusal;
    }
  };
}

/** Whose stream it is: a user's, from wherever; of nobody the address's. */
function callerOf({ subject, clientAddress = "" }: Call): string {
  return subjectKey(subject) || clientNetworkOf(clientAddress);
}

function nothing(): void {}
