import type { Interceptor } from "@connectrpc/connect";
import { reasonOf } from "./errors.ts";
import type { Session } from "./session.ts";

const HEADER = "authorization";

/** Sends the session's access token with each call, and once another where the shop does not take it. */
export function authorize(session: Session): Interceptor {
  // Each call has a signal of its own, the same for all its tries: none is made as somebody who logged in meanwhile.
  const logins = new WeakMap<AbortSignal, number>();
  return (next) => async (request) => {
    if (request.header.has(HEADER)) return next(request);
    const send = (token: string | undefined) => {
      const header = new Headers(request.header);
      if (token !== undefined) header.set(HEADER, `Bearer ${token}`);
      return next({ ...request, header });
    };
    const login = logins.get(request.signal) ?? session.generation();
    logins.set(request.signal, login);
    const token = await session.accessToken(login);
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
      const other = await session.accessToken(login);
      if (other === undefined || other === token) throw error;
      return send(other);
    }
  };
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
