import { describe, expect, test } from "vitest";
import { fromDatabaseError, isConnectionLost } from "./database-errors.ts";
import { errors } from "./errors.ts";

function withCode(code: string, message = "from the server"): Error {
  return Object.assign(new Error(message), { code });
}

describe("fromDatabaseError", () => {
  test.each(["ECONNREFUSED", "ECONNRESET", "EPIPE", "57P01", "57P02", "57P03", "08006", "08P01", "25P03", "25006"])(
    "%s: the database is down",
    (code) => {
      const cause = withCode(code);
      const error = fromDatabaseError(cause);
      expect(error).toMatchObject({ kind: "unavailable", reason: "PEER_DOWN", cause });
      expect(error?.details).toMatchObject({ retryAfterMs: 1000, metadata: { peer: "database" } });
    },
  );

  test.each([
    "Connection terminated",
    "Connection terminated unexpectedly",
    "Connection terminated due to connection timeout",
    "Client has encountered a connection error and is not queryable",
    "Query read timeout",
  ])("%s: the database is down, and the outcome unknown", (message) => {
    expect(fromDatabaseError(new Error(message))).toMatchObject({ reason: "PEER_DOWN" });
    expect(isConnectionLost(new Error(message))).toBe(true);
  });

  test("a refused connection to a name with several addresses", () => {
    const error = Object.assign(new AggregateError([withCode("ECONNREFUSED")]), { code: "ECONNREFUSED" });
    expect(fromDatabaseError(error)).toMatchObject({ reason: "PEER_DOWN" });
  });

  test.each(["53300", "53100", "55P03", "40001", "40P01"])("%s: busy", (code) => {
    expect(fromDatabaseError(withCode(code))).toMatchObject({ reason: "OVERLOADED", details: { retryAfterMs: 1000 } });
    expect(isConnectionLost(withCode(code))).toBe(false);
  });

  test("no connection of the pool was free in time", () => {
    const error = new Error("timeout exceeded when trying to connect");
    expect(fromDatabaseError(error)).toMatchObject({ reason: "OVERLOADED" });
    expect(isConnectionLost(error)).toBe(false);
  });

  test("a statement timeout is a passed deadline; NUL in a text is the caller's fault", () => {
    expect(fromDatabaseError(withCode("57014"))).toMatchObject({ kind: "deadline_exceeded", reason: "DEADLINE" });
    expect(fromDatabaseError(withCode("22021"))).toMatchObject({ reason: "INVALID_REQUEST" });
    expect(fromDatabaseError(withCode("22P05"))).toMatchObject({ reason: "INVALID_REQUEST" });
  });

  test("no message of the database reaches the caller", () => {
    for (const code of ["57014", "22021", "57P01", "53100"]) {
      expect(fromDatabaseError(withCode(code, "relation secret"))?.message).not.toContain("secret");
    }
  });

  test("a bug, our own refusal, and what is no error at all stay what they are", () => {
    const others = [
      withCode("42703"),
      withCode("23505"),
      errors.DEADLINE(),
      new Error("x"),
      undefined,
      "text",
      { code: 8 },
    ];
    for (const error of others) {
      expect(fromDatabaseError(error)).toBeUndefined();
      expect(isConnectionLost(error)).toBe(false);
    }
  });
});
