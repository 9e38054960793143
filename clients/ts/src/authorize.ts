import type { ContextValues, Interceptor } from "@connectrpc/connect";
import { Code, ConnectError, createContextKey } from "@connectrpc/connect";
import { reasonOf } from "./errors.ts";
import type { Session } from "./session.ts";
import { unlessAborted } from "./wait.ts";

const HEADER = "authorization";

/** Whose call it is: null for nobody's, undefined before it has begun. The same for all its tries. */
const caller = createContextKey<string | null | undefined>(undefined, { description: "the login of a call" });

/**
 * Sends the session's access token with each call, and once another where the shop does not take it. Calls with the same
 * context values are tries of one: none is made as somebody who logged in meanwhile.
 */
export function authorize(session: Session): Interceptor {
  return (next) => async (request) => {
    if (request.header.has(HEADER)) return next(request);
    const send = (token: string | undefined) => {
      const header = new Headers(request.header);
      if (token !== undefined) header.set(HEADER, `Bearer ${token}`);
      return next({ ...request, header });
    };
    const token = await unlessAborted(tokenFor(session, request.contextValues), request.signal);
    const note = (error: unknown) => {
      if (token !== undefined && isRefused(error)) session.refuse(token);
    };
    try {
      const response = await send(token);
      return response.stream ? { ...response, message: noting(response.message, note) } : response;
    } catch (error) {
      // The request of a stream is sent once: it is for its client to begin anew.
      if (token === undefined || !isRefused(error)) throw error;
      note(error);
      if (request.stream) throw error;
      const login = request.contextValues.get(caller) ?? null;
      const other = await unlessAborted(session.accessToken(login), request.signal);
      if (other === undefined || other === token) throw error;
      return send(other);
    }
  };
}

/** @throws ConnectError unauthenticated where whoever began the call is not logged in any more */
async function tokenFor(session: Session, values: ContextValues): Promise<string | undefined> {
  const known = values.get(caller);
  const login = known === undefined ? await session.current() : known;
  values.set(caller, login);
  const token = await session.accessToken(login);
  if (login === null || token !== undefined) return token;
  // Who comes back with a session that the shop has ended begins as nobody, who may see the shop.
  if (known !== undefined || (await session.current()) !== null) {
    throw new ConnectError("logged out: whoever began this call is not logged in any more", Code.Unauthenticated);
  }
  values.set(caller, null);
  return undefined;
}

/** Whether another token may help. */
export function isRefused(error: unknown): boolean {
  const reason = reasonOf(error);
  return reason === "TOKEN_EXPIRED" || reason === "TOKEN_INVALID";
}

async function* noting<T>(messages: AsyncIterable<T>, note: (error: unknown) => void): AsyncGenerator<T> {
  try {
    yield* messages;
  } catch (error) {
    note(error);
    throw error;
  }
}
