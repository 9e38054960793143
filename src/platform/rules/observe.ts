import type { Call } from "../call.ts";
import { subjectKey } from "../call.ts";
import type { AppError } from "../errors.ts";

/** Counts of a stream's messages, for its log line. */
export interface Traffic {
  received: number;
  sent: number;
}

/** Follows one call from outside its handler. */
export interface CallObserver {
  /** Once the call may be made and its request is valid. The handler begins when it resolves, and not if it rejects. */
  begin(): Promise<void>;
  /** At the end of the call, refused or not; of a stream with the counts of its messages. */
  end(failure: AppError | undefined, traffic: Traffic | undefined): void;
}

/** What follows a call, where something does. What it throws refuses the call. */
export type Observe = (call: Call, input: unknown) => CallObserver | undefined;

/**
 * The one log line of an RPC. Milliseconds are those of the whole call; a stream's line comes at its end and counts
 * its messages.
 */
export function logCall(call: Call, startedAt: number, error: AppError | undefined, traffic?: Traffic): void {
  const line = {
    method: `${call.method.parent.typeName}/${call.method.name}`,
    code: error?.kind ?? "ok",
    ...(error && { reason: error.reason }),
    ms: Math.round((performance.now() - startedAt) * 10) / 10,
    ...traffic,
    ...(call.caller !== undefined && { caller: call.caller }),
    ...(call.subject.kind !== "anonymous" && { subject: subjectKey(call.subject) }),
  };
  switch (error?.kind) {
    case "internal":
    case "data_loss":
    case "unknown":
      call.log.error(line, "rpc");
      return;
    case "unavailable":
    case "deadline_exceeded":
      call.log.warn({ ...line, ...causeOf(error) }, "rpc");
      return;
    default:
      call.log.info(line, "rpc");
  }
}

function causeOf(error: AppError): { cause?: string } {
  return error.cause instanceof Error ? { cause: error.cause.message } : {};
}
