import type { DescMethod } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import type { Call, Subject } from "../../platform/call.ts";
import { anonymous } from "../../platform/call.ts";
import { createRateLimits } from "./rate-limits.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const { login } = AuthService.method;
const { createUser } = UserService.method;
const { getProduct, queryProducts, addProduct } = ProductService.method;
const ada: Subject = { kind: "user", id: "ada", permissions: [] };
const FAR = "203.0.113.7";

function call(method: DescMethod, clientAddress: string | undefined = FAR, subject: Subject = anonymous): Call {
  return { method, clientAddress, subject } as unknown as Call;
}

async function countAdmitted(limit: (call: Call) => Promise<void>, times: number, next: (n: number) => Call) {
  let admitted = 0;
  for (let n = 0; n < times; n += 1) {
    await limit(next(n)).then(
      () => (admitted += 1),
      (error: unknown) => expect(error).toMatchObject({ kind: "resource_exhausted", reason: "RATE_LIMITED" }),
    );
  }
  return admitted;
}

test("a method's own limit, told with the time to come back", async () => {
  const limit = createRateLimits("all");
  expect(await countAdmitted(limit, 40, () => call(login))).toBe(30);
  vi.advanceTimersByTime(45_000);
  await expect(limit(call(login))).rejects.toMatchObject({
    details: { retryAfterMs: 15_000, quota: { subject: "Login", description: "At most 30 calls in 60 s." } },
  });
  vi.advanceTimersByTime(15_001);
  expect(await countAdmitted(limit, 40, () => call(login))).toBe(30);
});

test("reads together, writes together, each caller alone", async () => {
  const limit = createRateLimits("all");
  const reads = [getProduct, queryProducts];
  expect(await countAdmitted(limit, 1_300, (n) => call(reads[n % 2] ?? getProduct))).toBe(1_200);
  expect(await countAdmitted(limit, 400, () => call(addProduct))).toBe(300);
  expect(await countAdmitted(limit, 10, () => call(getProduct, "203.0.113.8"))).toBe(10);
  expect(await countAdmitted(limit, 10, () => call(getProduct, FAR, ada))).toBe(10);
});

test("who works for the shop may call ten times as often", async () => {
  const limit = createRateLimits("all");
  const clerk: Subject = { kind: "user", id: "clerk", permissions: ["order.write"] };
  const machine: Subject = { kind: "machine", id: "1", permissions: [] };
  for (const subject of [clerk, machine]) {
    expect(await countAdmitted(limit, 3_100, () => call(addProduct, FAR, subject))).toBe(3_000);
  }
});

test("what anybody may call is counted by address, however many accounts call", async () => {
  const limit = createRateLimits("all");
  const account = (n: number): Subject => ({ kind: "user", id: `account ${String(n)}`, permissions: [] });
  expect(await countAdmitted(limit, 100, (n) => call(createUser, FAR, account(n)))).toBe(20);
  expect(await countAdmitted(limit, 100, (n) => call(createUser, `203.0.113.${String(n)}`, ada))).toBe(20);
});

test("clients of IPv4 are told apart, however their address is written", async () => {
  const limit = createRateLimits("all");
  expect(await countAdmitted(limit, 100, (n) => call(login, `::ffff:198.51.100.${String(n)}`))).toBe(100);
  expect(await countAdmitted(limit, 40, (n) => call(login, `198.51.100.200:${String(1_000 + n)}`))).toBe(30);
});

test("a user is one caller, from wherever; so is a network of IPv6", async () => {
  const limit = createRateLimits("all");
  expect(await countAdmitted(limit, 400, (n) => call(addProduct, `203.0.113.${String(n % 200)}`, ada))).toBe(300);
  expect(await countAdmitted(limit, 40, (n) => call(login, `2001:db8:0:1::${n.toString(16)}`))).toBe(30);
  expect(await countAdmitted(limit, 1, () => call(login, "2001:db8::1:0:0:0:1"))).toBe(0);
  expect(await countAdmitted(limit, 1, () => call(login, "2001:db8:0:2::1"))).toBe(1);
});

test.each(["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.1.2.3"])("%s is this machine", async (address) => {
  expect(await countAdmitted(createRateLimits("others"), 100, () => call(login, address))).toBe(100);
  expect(await countAdmitted(createRateLimits("all"), 100, () => call(login, address))).toBe(30);
});

test.each([FAR, "::2", "1::1", undefined, "10.127.0.1"])("%s is not", async (address) => {
  expect(await countAdmitted(createRateLimits("others"), 100, () => call(login, address ?? ""))).toBe(30);
});
