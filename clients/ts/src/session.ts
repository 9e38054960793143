import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import type { LoginRequestSchema, RefreshResponse } from "./gen/commerce/user/v1/auth_pb.ts";
import { AuthService } from "./gen/commerce/user/v1/auth_pb.ts";
import type { User } from "./gen/commerce/user/v1/user_pb.ts";
import type { Tokens, TokenStore } from "./tokens.ts";
import { tokensOf } from "./tokens.ts";
import { waitAfter } from "./wait.ts";

/** Why nobody is logged in any more: the app asked for it, or the shop ended the session. */
export type LoggedOut = "asked" | "ended";

/** Milliseconds before its end from which on an access token is exchanged, while calls still go out with it. */
const AHEAD_MS = 30_000;

/**
 * Milliseconds for each try of a refresh. A refresh token serves once, and whoever lost the answer may ask again for ten
 * seconds: the first two tries leave time for the next.
 */
const TRIES_MS = [3_000, 3_000, 20_000];

export interface Session {
  login(credentials: MessageInitShape<typeof LoginRequestSchema>): Promise<User | undefined>;
  logout(): Promise<void>;
  /** Which login it is; grows with each login and logout. */
  generation(): number;
  /** For a call of this login; undefined where it is over. @throws ConnectError where it cannot be got */
  accessToken(login: number): Promise<string | undefined>;
  /** Notes that the shop did not take a token: the next one is another, or none. */
  refuse(accessToken: string): void;
}

/** @param transport without this session's tokens */
export function createSession(
  transport: Transport,
  store: TokenStore,
  onLoggedOut?: (why: LoggedOut) => void,
): Session {
  const auth = createClient(AuthService, transport);
  let refused: string | undefined;
  let renewing: Promise<string | undefined> | undefined;
  /** Grows with each login and logout: what was under way before counts for nothing. */
  let generation = 0;
  /** Where a new token looks old, this clock is wrong, and only the shop can say when one ends. */
  let clockIsRight = true;

  async function accessToken(login: number): Promise<string | undefined> {
    const tokens = await store.load();
    if (!tokens || login !== generation) return undefined;
    const isRefused = tokens.accessToken === refused;
    const left = clockIsRight ? tokens.accessTokenExpiresAt - Date.now() : Infinity;
    if (!isRefused && left > AHEAD_MS) return tokens.accessToken;
    renewing ??= renewOnce(tokens.accessToken);
    if (isRefused || left <= 0) return renewing;
    // It still serves: whoever comes after its end learns why there is no other.
    renewing.catch(() => undefined);
    return tokens.accessToken;
  }

  function renewOnce(old: string): Promise<string | undefined> {
    const own = renew(old).finally(() => {
      if (renewing === own) renewing = undefined;
    });
    return own;
  }

  /** One at a time. Answers another access token than the old one, or undefined where the session is over. */
  async function renew(old: string): Promise<string | undefined> {
    const tokens = await store.load();
    // Another tab was faster, or a call that began earlier.
    if (tokens?.accessToken !== old) return tokens?.accessToken;
    const begun = generation;
    try {
      const next = tokensOf(await refresh(tokens.refreshToken));
      if (generation !== begun) return undefined;
      await keep(next);
      return next.accessToken;
    } catch (error) {
      return whereRefused(() => lose(tokens))(error);
    }
  }

  /** The shop did not take a refresh token: the session is over, unless there is another by now. */
  async function lose({ refreshToken }: Tokens): Promise<string | undefined> {
    const tokens = await store.load();
    if (tokens?.refreshToken !== refreshToken) return tokens?.accessToken;
    await forget("ended");
    return undefined;
  }

  async function refresh(refreshToken: string): Promise<RefreshResponse> {
    for (const [index, timeoutMs] of TRIES_MS.entries()) {
      try {
        return await auth.refresh({ refreshToken }, { timeoutMs });
      } catch (error) {
        const { code } = ConnectError.from(error);
        const isLast = index === TRIES_MS.length - 1;
        if (isLast || (code !== Code.Unavailable && code !== Code.DeadlineExceeded)) throw error;
        await waitAfter(error, index + 1);
      }
    }
    throw new Error("there is at least one try");
  }

  async function keep(tokens: Tokens): Promise<void> {
    refused = undefined;
    clockIsRight = tokens.accessTokenExpiresAt - Date.now() > AHEAD_MS;
    await store.save(tokens);
  }

  /** From here on it is another login, or none. */
  function turn(): void {
    generation += 1;
    renewing = undefined;
  }

  async function forget(why: LoggedOut): Promise<void> {
    turn();
    const wasLoggedIn = Boolean(await store.load());
    await store.save(undefined);
    if (wasLoggedIn) onLoggedOut?.(why);
  }

  return {
    generation: () => generation,
    accessToken,
    refuse(token) {
      refused = token;
    },
    async login(credentials) {
      const answer = await auth.login(credentials);
      turn();
      await keep(tokensOf(answer));
      return answer.user;
    },
    async logout() {
      const tokens = await store.load();
      await forget("asked");
      if (!tokens) return;
      const end = async (accessToken: string) => {
        await auth.logout({}, { headers: { authorization: `Bearer ${accessToken}` } });
      };
      // An access token that is over cannot end its session; a session that is over needs no end.
      await end(tokens.accessToken)
        .catch(whereRefused(async () => end((await refresh(tokens.refreshToken)).accessToken)))
        .catch(whereRefused(() => undefined));
    },
  };
}

/** What to do about an error that says nothing but that the caller is nobody. */
function whereRefused<T>(then: () => T): (error: unknown) => T {
  return (error) => {
    if (ConnectError.from(error).code !== Code.Unauthenticated) throw error;
    return then();
  };
}
