import { describe, expect, test } from "vitest";
import type { Answer, Move, Saga, SagaLimits, SagaOrder, SagaStep } from "./saga.ts";
import { decide, isSkipped } from "./saga.ts";

const start = new Date("2026-11-21T12:00:00Z");
const later = (ms: number) => new Date(start.getTime() + ms);
const limits: SagaLimits = {
  leastPauseMs: 200,
  mostPauseMs: 5_000,
  askAgainMs: 15_000,
  mostAskAgainMs: 60_000,
  paymentMs: 1_800_000,
  giveUpMs: 600_000,
};
const pending: SagaOrder = {
  state: "PENDING",
  cancelRequested: false,
  totalMinor: 1290n,
  refundsMinor: 0n,
  currency: "EUR",
  expiresAt: undefined,
  nextAction: undefined,
  lines: [],
};
const confirmed: SagaOrder = { ...pending, state: "CONFIRMED" };
const checkout = (step: SagaStep, more: Partial<Saga> = {}): Saga => {
  return { kind: "CHECKOUT", step, attempts: 1, stepSince: start, outcome: undefined, refund: undefined, ...more };
};
const refund = { minor: 300n, restock: true, lines: [{ number: 1, quantity: 2, minor: 300n }] };

const answers = {
  done: { case: "done" },
  refused: { case: "refused", why: { reason: "REFUSED", metadata: { a: "b" } } },
  pending: { case: "pending" },
  action: { case: "action", redirectUrl: "https://bank.test" },
  unknown: { case: "unknown" },
  skipped: { case: "skipped" },
} as const satisfies Record<Answer["case"], Answer>;
type Case = keyof typeof answers;

/** A move in few words: the next step or how the order ends, and the outcome it leads to. */
function told({ step, waitMs, outcome, order, thenCancel, refund: settled, history }: Move): string {
  const state = order?.state === undefined ? "" : ` ${order.state}`;
  const why = order?.why?.reason ? `{${order.why.reason}}` : "";
  const leads = outcome ? ` for ${outcome.state}{${outcome.why.reason}}` : "";
  const then = (thenCancel ? " then cancel" : "") + (settled ? ` refund ${settled.state}` : "");
  const said = history.length > 0 ? ` [${history.map((entry) => entry.step).join()}]` : "";
  return `${step ?? "end"}${waitMs > 0 ? ` in ${String(waitMs)}` : ""}${leads}${state}${why}${then}${said}`;
}

/** What follows from each answer. */
function table(saga: Saga, order: SagaOrder, now = later(1_000)): Record<Case, string> {
  const cases = Object.keys(answers) as Case[];
  return Object.fromEntries(
    cases.map((name) => [name, told(decide(saga, order, answers[name], now, limits))]),
  ) as never;
}

const cancelledFor = "for CANCELLED{CANCEL_REQUESTED}";
const cancelledNow = "end CANCELLED{CANCEL_REQUESTED} [CANCELLED]";

describe("before the pivot", () => {
  test("RESERVE", () => {
    expect(table(checkout("RESERVE"), pending)).toEqual({
      done: "AUTHORIZE [STOCK_RESERVED]",
      refused: "end REJECTED{REFUSED} [REJECTED]",
      pending: "RESERVE in 200",
      action: "AUTHORIZE in 15000 AWAITING_PAYMENT [PAYMENT_ACTION_REQUIRED]",
      unknown: "RESERVE in 200",
      skipped: "RESERVE in 200",
    });
  });

  test("RESERVE, to be cancelled: what may have had an effect is released", () => {
    expect(table(checkout("RESERVE"), { ...pending, cancelRequested: true })).toEqual({
      done: `RELEASE ${cancelledFor} [STOCK_RESERVED]`,
      refused: cancelledNow,
      pending: `RELEASE ${cancelledFor}`,
      action: `RELEASE ${cancelledFor}`,
      unknown: `RELEASE ${cancelledFor}`,
      skipped: cancelledNow,
    });
  });

  test("RESERVE again: a refusal says nothing of the attempt before", () => {
    const again = checkout("RESERVE", { attempts: 2 });
    expect(table(again, pending).refused).toBe("RELEASE for REJECTED{REFUSED}");
    const { refused, skipped } = table(again, { ...pending, cancelRequested: true });
    expect([refused, skipped]).toEqual([`RELEASE ${cancelledFor}`, `RELEASE ${cancelledFor}`]);
  });

  test("AUTHORIZE", () => {
    expect(table(checkout("AUTHORIZE"), pending)).toEqual({
      done: "COMMIT [PAYMENT_AUTHORIZED]",
      refused: "RELEASE for REJECTED{REFUSED}",
      pending: "AUTHORIZE in 200",
      action: "AUTHORIZE in 15000 AWAITING_PAYMENT [PAYMENT_ACTION_REQUIRED]",
      unknown: "AUTHORIZE in 200",
      skipped: "AUTHORIZE in 200",
    });
    expect(table(checkout("AUTHORIZE", { attempts: 2 }), pending).refused).toBe("VOID for REJECTED{REFUSED}");
  });

  test("AUTHORIZE, to be cancelled: what may be authorized is voided", () => {
    const cancelling = { ...pending, cancelRequested: true };
    expect(table(checkout("AUTHORIZE"), cancelling)).toEqual({
      done: `VOID ${cancelledFor} [PAYMENT_AUTHORIZED]`,
      refused: `RELEASE ${cancelledFor}`,
      pending: `VOID ${cancelledFor}`,
      action: `VOID ${cancelledFor}`,
      unknown: `VOID ${cancelledFor}`,
      skipped: `RELEASE ${cancelledFor}`,
    });
    const { refused, skipped } = table(checkout("AUTHORIZE", { attempts: 2 }), cancelling);
    expect([refused, skipped]).toEqual([`VOID ${cancelledFor}`, `VOID ${cancelledFor}`]);
  });

  test("COMMIT", () => {
    expect(table(checkout("COMMIT"), pending)).toMatchObject({
      done: "CAPTURE [STOCK_COMMITTED]",
      refused: "VOID for REJECTED{REFUSED}",
      pending: "COMMIT in 200",
      unknown: "COMMIT in 200",
    });
  });

  test("COMMIT, to be cancelled: it does not go to the capture", () => {
    const cancelling = table(checkout("COMMIT"), { ...pending, cancelRequested: true });
    expect(cancelling.done).toBe(`VOID ${cancelledFor} [STOCK_COMMITTED]`);
    expect(new Set(Object.values({ ...cancelling, done: undefined }))).toEqual(
      new Set([undefined, `VOID ${cancelledFor}`]),
    );
  });

  test("what costs nothing is not paid, and has nothing to be voided", () => {
    const free = { ...pending, totalMinor: 0n };
    expect(table(checkout("RESERVE"), free).done).toBe("COMMIT [STOCK_RESERVED]");
    expect(table(checkout("COMMIT"), free).done).toBe("end CONFIRMED [STOCK_COMMITTED,CONFIRMED]");
    expect(table(checkout("COMMIT"), free).refused).toBe("RELEASE for REJECTED{REFUSED}");
    expect(table(checkout("COMMIT"), { ...free, cancelRequested: true }).done).toBe(
      `RELEASE ${cancelledFor} [STOCK_COMMITTED]`,
    );
  });

  test("a step that nobody answers for ten minutes is given up, and counted as done by then", () => {
    const outcomes = (["RESERVE", "AUTHORIZE", "COMMIT"] as const).flatMap((step) =>
      [599_999, 600_000].map((ms) => table(checkout(step, { attempts: 99 }), pending, later(ms)).unknown),
    );
    expect(outcomes).toEqual([
      "RESERVE in 5000",
      "RELEASE for REJECTED{INVENTORY_UNAVAILABLE}",
      "AUTHORIZE in 5000",
      "VOID for REJECTED{PAYMENT_UNAVAILABLE}",
      "COMMIT in 5000",
      "VOID for REJECTED{INVENTORY_UNAVAILABLE}",
    ]);
    expect(table(checkout("AUTHORIZE", { attempts: 99 }), pending, later(600_000)).pending).toContain("VOID");
  });

  test("pauses double up to their most", () => {
    const pauses = [1, 2, 3, 4, 5, 6, 7, 1_000].map(
      (attempts) => decide(checkout("RESERVE", { attempts }), pending, answers.unknown, start, limits).waitMs,
    );
    expect(pauses).toEqual([200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
  });
});

describe("an order that waits for its buyer", () => {
  const expiresAt = later(1_800_000);
  const waiting: SagaOrder = {
    ...pending,
    state: "AWAITING_PAYMENT",
    expiresAt,
    nextAction: { redirectUrl: "https://bank.test" },
  };
  const ask = checkout("AUTHORIZE", { attempts: 7 });

  test("knows where to send them and until when", () => {
    const { order } = decide(checkout("AUTHORIZE"), pending, answers.action, start, limits);
    expect(order).toMatchObject({ nextAction: { redirectUrl: "https://bank.test" }, expiresAt });
  });

  test("is asked about again, at its end at the latest, and tells nobody the same again", () => {
    expect(table(ask, waiting, later(60_000))).toMatchObject({
      action: "AUTHORIZE in 60000",
      pending: "AUTHORIZE in 5000",
      unknown: "AUTHORIZE in 5000",
      refused: "VOID for REJECTED{REFUSED}",
      done: "COMMIT [PAYMENT_AUTHORIZED]",
    });
    expect(table(ask, waiting, later(1_799_000)).action).toBe("AUTHORIZE in 1000");
    const moved = decide(ask, waiting, { case: "action", redirectUrl: "https://other.test" }, start, limits);
    expect([moved.order, moved.history]).toEqual([
      { nextAction: { redirectUrl: "https://other.test" }, expiresAt },
      [],
    ]);
  });

  test("is asked about less and less often", () => {
    const pauses = [1, 2, 3, 4, 1_000].map(
      (attempts) => decide(checkout("AUTHORIZE", { attempts }), waiting, answers.action, start, limits).waitMs,
    );
    expect(pauses).toEqual([15_000, 30_000, 60_000, 60_000, 60_000]);
  });

  test("ends by itself, unless it is authorized by then", () => {
    const expired = "VOID for CANCELLED{PAYMENT_EXPIRED}";
    const table1 = table(ask, waiting, expiresAt);
    expect(table1).toMatchObject({ action: expired, pending: expired, unknown: expired });
    expect(table1.done).toBe("COMMIT [PAYMENT_AUTHORIZED]");
    const { order } = decide(ask, waiting, answers.done, expiresAt, limits);
    expect(order).toEqual({ nextAction: undefined, expiresAt: undefined });
  });

  test("is not given up before that", () => {
    expect(table(ask, waiting, later(700_000)).unknown).toBe("AUTHORIZE in 5000");
  });
});

describe("the pivot", () => {
  const never = later(1e9);

  test("is asked about until it is known", () => {
    expect(table(checkout("CAPTURE"), pending, never)).toEqual({
      done: "end CONFIRMED [CONFIRMED]",
      refused: "VOID for REJECTED{REFUSED}",
      pending: "CAPTURE in 200",
      action: "CAPTURE in 200",
      unknown: "CAPTURE in 200",
      skipped: "CAPTURE in 200",
    });
  });

  test("a request to cancel waits for it, and pays back then", () => {
    const cancelling = { ...pending, cancelRequested: true };
    expect(table(checkout("CAPTURE"), cancelling, never)).toMatchObject({
      done: "end CONFIRMED then cancel [CONFIRMED]",
      refused: `VOID ${cancelledFor}`,
      unknown: "CAPTURE in 200",
    });
    expect(
      ["RESERVE", "AUTHORIZE", "COMMIT", "CAPTURE", "VOID", "RELEASE"].map((step) =>
        isSkipped(step as SagaStep, cancelling),
      ),
    ).toEqual([true, true, true, false, false, false]);
  });
});

describe("what is undone", () => {
  test("is undone for ever, whatever is answered", () => {
    const outcome = { state: "REJECTED", why: { reason: "OUT_OF_STOCK", metadata: {} } } as const;
    for (const cancelRequested of [false, true]) {
      const order = { ...pending, cancelRequested };
      const voided = table(checkout("VOID", { outcome }), order, later(1e9));
      expect(voided.done).toBe("RELEASE [PAYMENT_VOIDED]");
      expect(new Set(Object.values({ ...voided, done: "" }))).toEqual(new Set(["", "VOID in 200"]));
      const released = table(checkout("RELEASE", { outcome }), order, later(1e9));
      expect(released.done).toBe("end REJECTED{OUT_OF_STOCK} [STOCK_RELEASED,REJECTED]");
      expect(new Set(Object.values({ ...released, done: "" }))).toEqual(new Set(["", "RELEASE in 200"]));
    }
  });

  test("leaves nothing to do and nothing to cancel", () => {
    const outcome = { state: "CANCELLED", why: { reason: "PAYMENT_EXPIRED", metadata: {} } } as const;
    const { order } = decide(checkout("RELEASE", { outcome }), pending, answers.done, start, limits);
    expect(order).toEqual({ ...outcome, nextAction: undefined, expiresAt: undefined, cancelRequested: false });
  });
});

describe("REFUND", () => {
  const saga = (step: SagaStep, more: Partial<Saga["refund"]> = {}): Saga => {
    return { ...checkout(step), kind: "REFUND", refund: { ...refund, ...more } };
  };

  test("ends with its outcome, after the return where units come back", () => {
    const known = table(saga("REFUND"), confirmed, later(1e9));
    expect(known).toMatchObject({
      done: "RETURN refund SUCCEEDED [REFUNDED]",
      refused: "end refund FAILED [REFUND_FAILED]",
      pending: "REFUND in 200",
      unknown: "REFUND in 200",
    });
    expect(table(saga("REFUND", { restock: false }), confirmed).done).toBe("end refund SUCCEEDED [REFUNDED]");
    expect(table(saga("RETURN"), confirmed, later(1e9))).toMatchObject({
      done: "end [STOCK_RETURNED]",
      refused: "end",
      unknown: "RETURN in 200",
    });
  });

  test("tells why it failed", () => {
    const why = { reason: "REFUND_FAILED", metadata: { failure_code: "account_closed" } };
    expect(decide(saga("REFUND"), confirmed, { case: "refused", why }, start, limits).refund).toEqual({
      state: "FAILED",
      failureCode: "account_closed",
    });
    expect(decide(saga("REFUND"), confirmed, answers.refused, start, limits).refund?.failureCode).toBe("refused");
  });
});

describe("CANCEL of what is confirmed", () => {
  const order: SagaOrder = { ...confirmed, cancelRequested: true, refundsMinor: 290n };
  const saga = (step: SagaStep): Saga => ({ ...checkout(step), kind: "CANCEL", refund });

  test("waits for other refunds, and pays the rest back", () => {
    const { done, ...others } = table(saga("SETTLE"), order, later(1e9));
    expect(done).toBe("REFUND [REFUND_REQUESTED]");
    expect(new Set(Object.values(others))).toEqual(new Set(["SETTLE in 200"]));
    expect(decide(saga("SETTLE"), order, answers.done, start, limits).payBackMinor).toBe(1_000n);
    expect(table(saga("SETTLE"), { ...order, refundsMinor: 1290n }).done).toBe("RELEASE");
  });

  test("puts the units back once the money is", () => {
    expect(table(saga("REFUND"), order, later(1e9))).toMatchObject({
      done: "RELEASE refund SUCCEEDED [REFUNDED]",
      unknown: "REFUND in 200",
      pending: "REFUND in 200",
    });
    expect(table(saga("RELEASE"), order).done).toBe(`end CANCELLED{CANCEL_REQUESTED} [STOCK_RELEASED,CANCELLED]`);
  });

  test("is taken back where the money cannot be", () => {
    const move = decide(saga("REFUND"), order, answers.refused, start, limits);
    expect([told(move), move.order]).toEqual(["end refund FAILED [REFUND_FAILED]", { cancelRequested: false }]);
  });
});
