import { expect, test } from "vitest";
import { clientAddressOf, clientNetworkOf, isLoopbackAddress } from "./client-address.ts";

test.each([
  ["203.0.113.7", "203.0.113.7", "203.0.113.7"],
  ["203.0.113.7:4711", "203.0.113.7", "203.0.113.7"],
  ["::ffff:203.0.113.7", "203.0.113.7", "203.0.113.7"],
  ["::ffff:cb00:7107", "203.0.113.7", "203.0.113.7"],
  ["[2001:DB8::1]:443", "2001:db8::1", "2001:db8:0:0::/64"],
  ["2001:db8:0:1:ffff::1", "2001:db8:0:1:ffff::1", "2001:db8:0:1::/64"],
  ["fe80::1%eth0", "fe80::1", "fe80:0:0:0::/64"],
  ["::1", "::1", "0:0:0:0::/64"],
])("%s is %s of %s", (text, address, network) => {
  expect(clientAddressOf(text)).toBe(address);
  expect(clientNetworkOf(text)).toBe(network);
});

test.each(["", "unknown", "203.0.113.700", "203.0.113.7:", "[::1", "a:b:c", "evil.example"])("%j is none", (text) => {
  expect(clientAddressOf(text)).toBeUndefined();
  expect(clientNetworkOf(text)).toBe(text);
});

test("this machine's own", () => {
  for (const own of ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1"]) {
    expect(isLoopbackAddress(own), own).toBe(true);
  }
  for (const other of ["", "10.127.0.1", "::2", "::ffff:8.8.8.8", "1::1", "127.evil.example"]) {
    expect(isLoopbackAddress(other), other).toBe(false);
  }
});
