import { describe, expect, test } from "vitest";
import type { Presented } from "./session.ts";
import { RETRY_MS, SESSION_MS, clientName, judge, sessionExpiry } from "./session.ts";

const now = new Date("2026-01-01T00:00:00Z");
const at = (ms: number) => new Date(now.getTime() + ms);
const live: Presented = { sessionEndedAt: null, sessionExpiresAt: at(1), usedAt: null, successorIsLive: false };

describe("judge", () => {
  test("the live token of an open session is exchanged, until its time is over", () => {
    expect(judge(live, now)).toBe("exchange");
    expect(judge({ ...live, sessionExpiresAt: now }, now)).toBe("expired");
  });

  test("a used token is answered again for ten seconds, as long as its successor is unused", () => {
    const used = { ...live, usedAt: at(-RETRY_MS), successorIsLive: true };
    expect(judge(used, now)).toBe("repeat");
    expect(judge({ ...used, usedAt: at(-RETRY_MS - 1) }, now)).toBe("reused");
    expect(judge({ ...used, successorIsLive: false }, now)).toBe("reused");
  });

  test("nothing of a session that has ended is good", () => {
    expect(judge({ ...live, sessionEndedAt: now }, now)).toBe("invalid");
    expect(judge({ ...live, sessionEndedAt: now, usedAt: now, successorIsLive: true }, now)).toBe("invalid");
  });
});

test("a session ends 30 days after its last use", () => {
  expect(sessionExpiry(now).getTime() - now.getTime()).toBe(SESSION_MS);
  expect(SESSION_MS).toBe(2_592_000_000);
});

test("the name of a client is printable and at most 200 characters long", () => {
  expect(clientName(undefined)).toBe("");
  expect(clientName("Fire\u0000fox\n/1\u{1f98a}")).toBe("Firefox/1");
  expect(clientName("x".repeat(300))).toHaveLength(200);
});
