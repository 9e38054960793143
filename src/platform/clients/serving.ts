import type { CallOptions } from "@connectrpc/connect";
import { createContextKey, createContextValues } from "@connectrpc/connect";
import type { Call } from "../call.ts";

/** The call that a call to a peer serves. */
export const servedCall = createContextKey<Call | undefined>(undefined);

/**
 * Options for a call to a peer that serves the given one: its cancellation, what is left of its deadline, its request
 * id and its subject travel along. Without them a call to a peer is the role's own.
 *
 * @example await users.batchGetUsers({ ids }, serving(call));
 */
export function serving(call: Call): CallOptions {
  return {
    signal: call.signal,
    ...(call.deadline !== undefined && { timeoutMs: Math.max(1, call.deadline - Date.now()) }),
    contextValues: createContextValues().set(servedCall, call),
  };
}
