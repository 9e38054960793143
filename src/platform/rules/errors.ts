import type { Call } from "../call.ts";
import { fromDatabaseError } from "../database-errors.ts";
import { AppError, PeerError, errors } from "../errors.ts";
import { abortError } from "./deadline.ts";

/** Turns whatever a handler threw into what the caller may read. Anything unforeseen is masked, and logged once. */
export function toAppError(error: unknown, call: Call): AppError {
  if (error instanceof AppError) return isUnmasked(error) ? masked(error.cause ?? error, call) : error;
  if (error instanceof PeerError) return fromPeer(error, call);
  // What an abort breaks off fails in many ways; the abort is what the caller needs to know.
  if (call.signal.aborted) return abortError(call);
  return fromDatabaseError(error) ?? masked(error, call);
}

/** A defect that no rule has seen yet; one with a request id was masked and logged by the role that it came from. */
function isUnmasked(error: AppError): boolean {
  return error.kind === "internal" && error.details.metadata?.["request_id"] === undefined;
}

function fromPeer(error: PeerError, call: Call): AppError {
  switch (error.error.kind) {
    case "unavailable":
      if (error.error.reason === "OVERLOADED") {
        return errors.OVERLOADED({ retryAfterMs: 1_000, metadata: { peer: error.peer }, cause: error });
      }
      return errors.PEER_DOWN({ retryAfterMs: 1_000, metadata: { peer: error.peer }, cause: error });
    case "deadline_exceeded":
      return errors.DEADLINE({ cause: error });
    case "canceled":
      return errors.CANCELED({ cause: error });
    default:
      return masked(error, call);
  }
}

function masked(error: unknown, call: Call): AppError {
  call.log.error({ err: error }, "unexpected error");
  return errors.INTERNAL({ metadata: { request_id: call.requestId } });
}
