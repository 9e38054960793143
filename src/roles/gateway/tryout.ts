import type { Call } from "../../platform/call.ts";
import { errors } from "../../platform/errors.ts";

/** Headers by which proxies tell for whom they ask. */
const FORWARDED = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/** A host as it stands in an address, of this machine. */
const LOCAL_HOST = /^(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?$/i;

/**
 * In a shop that is tried out nobody logs in from elsewhere: it has accounts whose password everybody knows. A proxy on
 * this machine, or a page of another host in a browser here, would bring others in.
 * @throws AppError ACCESS_DENIED
 */
export function refuseOthersLogin(call: Call): void {
  if (call.method.name !== "Login") return;
  const host = call.header("host");
  const isHere = FORWARDED.every((name) => call.header(name) === undefined);
  if (isHere && (host === undefined || LOCAL_HOST.test(host))) return;
  const message =
    "This shop is tried out, with accounts that everybody knows: it lets only this machine log in. Set TRUSTED_PROXIES, LISTEN_HOST or DATABASE_URL to serve others.";
  throw errors.ACCESS_DENIED({ message });
}
