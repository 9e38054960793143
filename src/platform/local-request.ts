/** Headers by which proxies tell for whom they ask. */
const FORWARDED = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/** A host as it stands in an address, of this machine. */
const LOCAL_HOST = /^(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?$/i;

/** The headers that {@link isLocalRequest} looks at. */
export const LOCAL_REQUEST_HEADERS: readonly string[] = ["host", ...FORWARDED];

/**
 * Whether a request that came over this machine's own address was also meant for it: a proxy here, or a page of another
 * host in a browser here, would bring others in. Without a host it is of a client that names none.
 */
export function isLocalRequest(header: (name: string) => string | undefined): boolean {
  const host = header("host");
  return FORWARDED.every((name) => header(name) === undefined) && (host === undefined || LOCAL_HOST.test(host));
}
