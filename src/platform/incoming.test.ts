import { pino } from "pino";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { anonymous } from "./call.ts";
import { openCall } from "./incoming.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const { createOrder, createOrders, watchOrder } = OrderService.method;
const MINUTE = 60_000;

test.each([
  ["a unary call", createOrder, undefined, 30_000, "DEADLINE"],
  ["a unary call whose client is too patient", createOrder, 10 * MINUTE, 2 * MINUTE, "DEADLINE"],
  ["a stream", watchOrder, undefined, 60 * MINUTE, "OVERLOADED"],
  ["a stream upwards", createOrders, undefined, 60 * MINUTE, "OVERLOADED"],
  ["a stream whose client says", watchOrder, 10 * MINUTE, 10 * MINUTE, "DEADLINE"],
  ["a stream whose client is too patient", watchOrder, 90 * MINUTE, 60 * MINUTE, "OVERLOADED"],
] as const)("%s ends", (_name, method, timeoutMs, endsMs, reason) => {
  const opened = openCall({
    role: "order",
    method,
    requestId: "1",
    identity: { subject: anonymous },
    caller: undefined,
    outside: true,
    timeoutMs,
    parent: undefined,
    log: pino({ level: "silent" }),
    requestHeader: new Headers(),
    responseHeader: new Headers(),
  });
  const { signal } = opened.call;
  vi.advanceTimersByTime(endsMs - 1);
  expect(signal.aborted).toBe(false);
  vi.advanceTimersByTime(1);
  expect(signal.reason).toMatchObject({ reason });
  opened.close();
});
