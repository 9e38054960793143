import { expect, test, vi } from "vitest";
import type { ProviderPayment } from "./provider.ts";
import { ProviderRefusal } from "./provider.ts";
import type { SendContext } from "./send-operation.ts";
import { ask, leaseFor, patience } from "./send-operation.ts";

const context = {
  patience,
  closing: new AbortController().signal,
  provider: { name: "sandbox" },
  log: { warn: () => undefined },
} as unknown as SendContext;
const lease = { id: "key", paymentId: "payment", kind: "CAPTURE", amountMinor: 1n, tries: 1 } as const;
const payment = { paymentId: "payment", state: "captured" } as ProviderPayment;

test("an answer, a refusal, and whatever else comes", async () => {
  const sending = { ...lease, leasedAt: performance.now() };
  expect(await ask(context, sending, () => Promise.resolve(payment))).toEqual({ kind: "seen", payment });
  const refusal = new ProviderRefusal("no", "no");
  expect(await ask(context, sending, () => Promise.reject(refusal))).toEqual({ kind: "refused", refusal });
  const error = new TypeError("fetch failed");
  expect(await ask(context, sending, () => Promise.reject(error))).toEqual({ kind: "unknown", error });
});

test("an answer about another payment tells nothing", async () => {
  const sending = { ...lease, leasedAt: performance.now() };
  const other = { ...payment, paymentId: "another" };
  expect(await ask(context, sending, () => Promise.resolve(other))).toMatchObject({ kind: "unknown" });
});

test("a process that was held up does not send any more", async () => {
  const call = vi.fn<() => Promise<ProviderPayment>>(() => Promise.resolve(payment));
  const late = { ...lease, leasedAt: performance.now() - (patience.leaseMs - patience.sendMs) - 1 };
  expect(await ask(context, late, call)).toMatchObject({ kind: "unknown" });
  expect(call).not.toHaveBeenCalled();
});

test("a process that closes breaks off what it asked", async () => {
  const closing = AbortSignal.abort(new Error("the process stops"));
  const call = (signal: AbortSignal) =>
    signal.aborted ? Promise.reject(signal.reason as Error) : Promise.resolve(payment);
  const sending = { ...lease, leasedAt: performance.now() };
  expect(await ask({ ...context, closing }, sending, call)).toMatchObject({ kind: "unknown" });
});

test("what belongs to another provider is left to its processes", () => {
  expect(leaseFor(context, { provider: "sandbox" } as never)).toBe(patience.leaseMs);
  expect(leaseFor(context, { provider: "stripe" } as never)).toBeUndefined();
});
