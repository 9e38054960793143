import { isIP, isIPv6 } from "node:net";

/**
 * An address as it is known here: IPv4 where it is written as IPv6, without the port and brackets that some proxies add.
 * Undefined for a text that is no address.
 */
export function clientAddressOf(text: string): string | undefined {
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(text)?.[1] ?? text;
  const [address = ""] = bare.split("%");
  if (isIP(address) === 0) return undefined;
  return mappedIpv4(address) ?? address.toLowerCase();
}

/** What counts as one client: an address, or of IPv6 the first 64 bits, which one client has all of. */
export function clientNetworkOf(address: string): string {
  const known = clientAddressOf(address) ?? address;
  return isIPv6(known) ? `${groupsOf(known).slice(0, 4).join(":")}::/64` : known;
}

/** Whether it is this machine's own. */
export function isLoopbackAddress(address: string): boolean {
  const known = clientAddressOf(address) ?? "";
  return known === "::1" || known.startsWith("127.");
}

function mappedIpv4(address: string): string | undefined {
  if (!isIPv6(address)) return undefined;
  const dotted = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (dotted !== undefined) return dotted;
  const groups = groupsOf(address);
  if (groups.slice(0, 5).some((group) => group !== "0") || groups[5] !== "ffff") return undefined;
  const [high = 0, low = 0] = groups.slice(6).map((group) => Number.parseInt(group, 16));
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

/** The eight groups of an IPv6 address, without leading zeros. A dotted end counts as its two groups. */
function groupsOf(address: string): string[] {
  const plain = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, ...bytes: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = bytes.slice(0, 4).map(Number);
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [left = "", right] = plain.split("::");
  const head = left === "" ? [] : left.split(":");
  const tail = right === undefined || right === "" ? [] : right.split(":");
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => "0");
  return [...head, ...zeros, ...tail].map((group) => Number.parseInt(group, 16).toString(16));
}
