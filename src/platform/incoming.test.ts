import type { DescMethod } from "@bufbuild/protobuf";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { anonymous } from "./call.ts";
import { openCall } from "./incoming.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const { createOrder, createOrders, watchOrder } = OrderService.method;
const MINUTE = 60_000;

/** A call that came in; what it says beside that is up to the test. */
function open(method: DescMethod, times: { readonly timeoutMs: number | undefined; readonly arrivedAt?: number }) {
  return openCall({
    role: "order",
    method,
    requestId: "1",
    identity: { subject: anonymous },
    caller: undefined,
    outside: true,
    parent: undefined,
    log: pino({ level: "silent" }),
    requestHeader: new Headers(),
    responseHeader: new Headers(),
    ...times,
  });
}

test.each([
  ["a unary call", createOrder, undefined, 30_000, "DEADLINE"],
  ["a unary call whose client is too patient", createOrder, 10 * MINUTE, 2 * MINUTE, "DEADLINE"],
  ["a stream", watchOrder, undefined, 60 * MINUTE, "OVERLOADED"],
  ["a stream upwards", createOrders, undefined, 60 * MINUTE, "OVERLOADED"],
  ["a stream whose client says", watchOrder, 10 * MINUTE, 10 * MINUTE, "DEADLINE"],
  ["a stream whose client is too patient", watchOrder, 90 * MINUTE, 60 * MINUTE, "OVERLOADED"],
] as const)("%s ends", (_name, method, timeoutMs, endsMs, reason) => {
  const opened = open(method, { timeoutMs });
  const { signal } = opened.call;
  vi.advanceTimersByTime(endsMs - 1);
  expect(signal.aborted).toBe(false);
  vi.advanceTimersByTime(1);
  expect(signal.reason).toMatchObject({ reason });
  opened.close();
});

test("the time in which a request arrives counts", () => {
  const opened = open(createOrder, { timeoutMs: 300, arrivedAt: Date.now() - 200 });
  const { signal } = opened.call;
  vi.advanceTimersByTime(99);
  expect(signal.aborted).toBe(false);
  vi.advanceTimersByTime(1);
  expect(signal.reason).toMatchObject({ reason: "DEADLINE" });
  opened.close();
  const late = open(createOrder, { timeoutMs: 300, arrivedAt: Date.now() - 300 });
  expect(late.call.signal.reason).toMatchObject({ reason: "DEADLINE" });
  late.close();
});
