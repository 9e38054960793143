import { expect, test } from "vitest";
import { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";
import type { Call } from "../../platform/call.ts";
import { refuseOthersLogin } from "./tryout.ts";

const { login, refresh } = AuthService.method;

function attempt(headers: Readonly<Record<string, string>>, method = login as Call["method"]) {
  return () => {
    refuseOthersLogin({ method, header: (name: string) => headers[name] } as unknown as Call);
  };
}

test.each(["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "127.1.2.3"])("%s logs in", (host) => {
  expect(attempt({ host })).not.toThrow();
});

test("who names no host logs in", () => {
  expect(attempt({})).not.toThrow();
});

test.each([
  { host: "evil.example" },
  { host: "localhost.evil.example" },
  { host: "127.0.0.1.evil.example:8080" },
  { host: "localhost", "x-forwarded-for": "203.0.113.9" },
  { host: "localhost", forwarded: "for=203.0.113.9" },
  { "x-forwarded-host": "shop.example" },
  { "x-real-ip": "203.0.113.9" },
  { "x-forwarded-proto": "https" },
  { host: "localhost", via: "1.1 proxy" },
])("%j does not", (headers) => {
  expect(attempt(headers)).toThrow(expect.objectContaining({ reason: "ACCESS_DENIED" }));
  expect(attempt(headers, refresh)).not.toThrow();
});
