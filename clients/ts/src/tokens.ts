import type { FinishOpenIdLoginResponse, LoginResponse, RefreshResponse } from "./gen/commerce/user/v1/auth_pb.ts";
import { timestampMs } from "@bufbuild/protobuf/wkt";

/** What a login gives; JSON can hold it. Whoever has it is the user. */
export interface Tokens {
  readonly accessToken: string;
  /** Milliseconds since 1970, by the clock of the shop. */
  readonly accessTokenExpiresAt: number;
  readonly refreshToken: string;
  /** Which login it is: random, made anew with each. What an older version of this client kept has none. */
  readonly login?: string;
}

/**
 * Where the tokens are kept between calls. The client asks for them before each call, so that a store which several tabs
 * share gives each the newest.
 */
export interface TokenStore {
  load(): Tokens | null | undefined | Promise<Tokens | null | undefined>;
  /** Undefined when nobody is logged in any more. */
  save(tokens: Tokens | undefined): void | Promise<void>;
}

/** Keeps tokens until the page or the process ends. */
export function memoryTokens(): TokenStore {
  let kept: Tokens | undefined;
  return {
    load: () => kept,
    save(tokens) {
      kept = tokens;
    },
  };
}

/** Which login the tokens are of; null for nobody. Those without an id are of one. */
export function loginOf(tokens: Tokens | null | undefined): string | null {
  return tokens ? (tokens.login ?? "") : null;
}

export function tokensOf(
  answer: LoginResponse | FinishOpenIdLoginResponse | RefreshResponse,
  login: string | undefined,
): Tokens {
  const { accessToken, accessTokenExpiresAt, refreshToken } = answer;
  // Without a time the token serves until it is refused.
  const expiresAt = accessTokenExpiresAt ? timestampMs(accessTokenExpiresAt) : Number.MAX_SAFE_INTEGER;
  const tokens = { accessToken, accessTokenExpiresAt: expiresAt, refreshToken };
  return login === undefined ? tokens : { ...tokens, login };
}
