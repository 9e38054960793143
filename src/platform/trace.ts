import { AsyncLocalStorage } from "node:async_hooks";

/** W3C trace context, level 1, with a version and ids that are not all zero. */
const TRACEPARENT = /^(?!ff)[\da-f]{2}-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2}$/;

const storage = new AsyncLocalStorage<string>();

/** Runs work under the trace context of a call or an event; what is no `traceparent` header counts as none. */
export function withTraceparent<T>(traceparent: string | undefined, work: () => T): T {
  return storage.run(traceparent !== undefined && TRACEPARENT.test(traceparent) ? traceparent : "", work);
}

/** The `traceparent` of the work at hand; empty where it has none. */
export function currentTraceparent(): string {
  return storage.getStore() ?? "";
}
