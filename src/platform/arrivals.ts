import type { DescMethod } from "@bufbuild/protobuf";
import type { Authenticate } from "./authenticate.ts";
import { AppError, errors } from "./errors.ts";
import type { IncomingCall, OpenCall } from "./incoming.ts";
import { openCall } from "./incoming.ts";
import type { Logger } from "./logger.ts";
import { REQUEST_ID_HEADER } from "./request-id.ts";

/** A request for a method, as it came in at a port, over whatever protocol. */
export interface Arrival {
  readonly method: DescMethod;
  /** Made by this server; the call has another where a role calls. */
  readonly ownId: string;
  /** Of the client, where it came from outside. */
  readonly from: string;
  /** From when its deadline counts, in epoch milliseconds; from now where it is left out. */
  readonly arrivedAt?: number;
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal;
  readonly reasonOf: NonNullable<IncomingCall["reasonOf"]>;
  readonly requestHeader: Pick<Headers, "get">;
  readonly responseHeader: Pick<Headers, "set">;
}

/** @throws AppError where the caller is not who it says it is */
export type Admit = (arrival: Arrival) => Promise<OpenCall>;

/** Makes arrivals into calls of a role: says who calls, and under which id the request goes on. */
export function createAdmit(role: string, authenticate: Authenticate, log: Logger): Admit {
  return async ({ ownId, from, signal, requestHeader, responseHeader, ...rest }) => {
    const header = (name: string) => requestHeader.get(name) ?? undefined;
    responseHeader.set(REQUEST_ID_HEADER, ownId);
    const { identity, caller, outside } = await authenticate(header, rest.method).catch((error: unknown) => {
      const refused =
        error instanceof AppError ? error : errors.INTERNAL({ metadata: { request_id: ownId }, cause: error });
      const method = `${rest.method.parent.typeName}/${rest.method.name}`;
      const line = { role, requestId: ownId, method, code: refused.kind, reason: refused.reason };
      if (refused.kind === "internal") log.error({ ...line, err: error }, "refused");
      else log.warn(line, "refused");
      throw refused;
    });
    // Only a role's word is taken for the id; at the edge it is made.
    const requestId = (caller === undefined ? undefined : header(REQUEST_ID_HEADER)) ?? ownId;
    responseHeader.set(REQUEST_ID_HEADER, requestId);
    return openCall({
      ...rest,
      role,
      requestId,
      identity,
      caller,
      outside,
      ...(caller === undefined && { clientAddress: from }),
      parent: signal,
      log,
      requestHeader,
      responseHeader,
    });
  };
}
