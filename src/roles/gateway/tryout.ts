import type { Call } from "../../platform/call.ts";
import { errors } from "../../platform/errors.ts";
import { isLocalRequest } from "../../platform/local-request.ts";

/**
 * In a shop that is tried out nobody logs in from elsewhere: it has accounts whose password everybody knows.
 * @throws AppError ACCESS_DENIED
 */
export function refuseOthersLogin(call: Call): void {
  if (call.method.name !== "Login" || isLocalRequest((name) => call.header(name))) return;
  const message =
    "This shop is tried out, with accounts that everybody knows: it lets only this machine log in. Set TRUSTED_PROXIES, LISTEN_HOST or DATABASE_URL to serve others.";
  throw errors.ACCESS_DENIED({ message });
}
