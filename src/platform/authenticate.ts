import type { DescMethod } from "@bufbuild/protobuf";
import type { Assertions } from "./assertion.ts";
import { ASSERTION_HEADER } from "./assertion.ts";
import type { Identity } from "./call.ts";
import { anonymous } from "./call.ts";
import { AppError, errors } from "./errors.ts";
import { accessRule } from "./rules/access.ts";

/** A header of a request, by its lower-case name. */
export type Header = (name: string) => string | undefined;

/** Who makes a call. */
export interface Caller {
  readonly identity: Identity;
  /** The role that made the call, where one did and proved it. */
  readonly caller?: string;
  /** Whether it is an outsider's call. */
  readonly outside: boolean;
}

/** @throws AppError TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, PEER_DOWN */
export type Authenticate = (header: Header, method: DescMethod) => Promise<Caller>;

/** At a role's port: only roles come in here, each call with an assertion. */
export function byAssertion(assertions: Assertions): Authenticate {
  return async (header) => {
    const token = header(ASSERTION_HEADER);
    if (token === undefined) {
      throw errors.TOKEN_MISSING({ message: "This port serves the other roles; call the gateway." });
    }
    const { caller, subject, outside } = await assertions.verify(token);
    return { identity: { subject }, caller, outside };
  };
}

/**
 * At the edge: by what the role makes of the headers. What roles assert is not heard. A token that is of no use counts
 * as none on a PUBLIC method: who holds an old one must be able to log in.
 */
export function byToken(identify: (header: Header) => Promise<Identity>): Authenticate {
  return async (header, method) => {
    try {
      return { identity: await identify(header), outside: true };
    } catch (error) {
      const isRefusal = error instanceof AppError && error.kind === "unauthenticated";
      if (isRefusal && accessRule(method).level === "public") {
        return { identity: { subject: anonymous }, outside: true };
      }
      throw error;
    }
  };
}
