import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import type {
  FinishOpenIdLoginRequestSchema,
  FinishOpenIdLoginResponse,
  LoginRequestSchema,
  LoginResponse,
  RefreshResponse,
} from "./gen/commerce/user/v1/auth_pb.ts";
import { AuthService } from "./gen/commerce/user/v1/auth_pb.ts";
import type { Tokens, TokenStore } from "./tokens.ts";
import { randomText } from "./random.ts";
import { loginOf, tokensOf } from "./tokens.ts";
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
  /** Which login there is, null for none. It stays the same however often its tokens are exchanged. */
  current(): Promise<string | null>;
  /** For a call of this login; undefined where it is over, and for null. @throws ConnectError where it cannot be got */
  accessToken(login: string | null): Promise<string | undefined>;
  /** Notes that the shop did not take a token: the next one is another, or none. */
  refuse(accessToken: string): void;
  login(credentials: MessageInitShape<typeof LoginRequestSchema>): Promise<LoginResponse>;
  finishOpenIdLogin(
    answer: MessageInitShape<typeof FinishOpenIdLoginRequestSchema>,
  ): Promise<FinishOpenIdLoginResponse>;
  logout(): Promise<void>;
}

/** @param transport without this session's tokens */
export function createSession(
  transport: Transport,
  store: TokenStore,
  onLoggedOut?: (why: LoggedOut) => void,
): Session {
  const auth = createClient(AuthService, transport);
  const inTurn = createQueue();
  let refused: string | undefined;
  /** By their refresh tokens: in a shared store there may be another login before an exchange has ended. */
  const exchanges = new Map<string, Promise<string | undefined>>();
  /** Where a new token looks old, this clock is wrong, and only the shop can say when one ends. */
  let clockIsRight = true;

  /** Waits for a login that is being kept, so that no call begins as who was there before. */
  const load = () => inTurn(async () => store.load());

  async function accessToken(login: string | null): Promise<string | undefined> {
    if (login === null) return undefined;
    const tokens = await load();
    if (!tokens || loginOf(tokens) !== login) return undefined;
    const isRefused = tokens.accessToken === refused;
    const left = clockIsRight ? tokens.accessTokenExpiresAt - Date.now() : Infinity;
    if (!isRefused && left > AHEAD_MS) return tokens.accessToken;
    const next = exchangeOnce(tokens);
    if (isRefused || left <= 0) return next;
    // It still serves: whoever comes after its end learns why there is no other.
    next.catch(() => undefined);
    return tokens.accessToken;
  }

  function exchangeOnce(old: Tokens): Promise<string | undefined> {
    const begun = exchanges.get(old.refreshToken);
    if (begun) return begun;
    const own = exchange(old).finally(() => exchanges.delete(old.refreshToken));
    exchanges.set(old.refreshToken, own);
    return own;
  }

  /** Answers another access token of the same login, or undefined where that is over. */
  async function exchange(old: Tokens): Promise<string | undefined> {
    const kept = await load();
    // Another tab was faster, or a call that began earlier.
    if (kept?.refreshToken !== old.refreshToken) return isSameLogin(kept, old) ? kept.accessToken : undefined;
    try {
      return await replace(old, tokensOf(await refresh(old.refreshToken), old.login));
    } catch (error) {
      return whereRefused(() => replace(old, undefined))(error);
    }
  }

  /** Keeps others, or none, in place of these tokens; those stay that came there meanwhile, by a login or another tab. */
  function replace(old: Tokens, next: Tokens | undefined): Promise<string | undefined> {
    return inTurn(async () => {
      const kept = await store.load();
      if (kept?.refreshToken !== old.refreshToken) return isSameLogin(kept, old) ? kept.accessToken : undefined;
      await keep(next);
      if (!next) onLoggedOut?.("ended");
      return next?.accessToken;
    });
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

  async function keep(tokens: Tokens | undefined): Promise<void> {
    refused = undefined;
    if (tokens) clockIsRight = tokens.accessTokenExpiresAt - Date.now() > AHEAD_MS;
    await store.save(tokens);
  }

  async function begin<A extends LoginResponse | FinishOpenIdLoginResponse>(answer: A): Promise<A> {
    await inTurn(() => keep(tokensOf(answer, randomText())));
    return answer;
  }

  /** Answers what was kept. */
  function forget(): Promise<Tokens | undefined> {
    return inTurn(async () => {
      const tokens = await store.load();
      await keep(undefined);
      return tokens ?? undefined;
    });
  }

  return {
    current: async () => loginOf(await load()),
    accessToken,
    refuse(token) {
      refused = token;
    },
    login: async (credentials) => begin(await auth.login(credentials)),
    finishOpenIdLogin: async (answer) => begin(await auth.finishOpenIdLogin(answer)),
    async logout() {
      const tokens = await forget();
      if (!tokens) return;
      onLoggedOut?.("asked");
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

/** Runs one after another what reads the store and then writes it, so that nothing comes between. */
function createQueue(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const own = last.then(work);
    last = own.catch(() => undefined);
    return own;
  };
}

function isSameLogin(tokens: Tokens | null | undefined, other: Tokens): tokens is Tokens {
  return loginOf(tokens) === loginOf(other);
}

/** What to do about an error that says nothing but that the caller is nobody. */
function whereRefused<T>(then: () => T): (error: unknown) => T {
  return (error) => {
    if (ConnectError.from(error).code !== Code.Unauthenticated) throw error;
    return then();
  };
}
