import { expect, test } from "vitest";
import userRole from "../../src/roles/user/index.ts";
import { MINUTE_MS, accountsOf, admin } from "../roles/auth-support.ts";
import { refusal, startTestRole } from "../support/role.ts";

const TRIES = 200;

test(`${String(TRIES)} logins of each kind take the same time and say the same`, { timeout: 120_000 }, async () => {
  await using role = await startTestRole("user", userRole);
  const { createUser, logIn, users } = accountsOf(role);
  const user = await createUser();
  await users().createUser({ email: "without@example.com" });
  const emails: Readonly<Record<string, (n: number) => string>> = {
    "wrong password": () => user.email,
    "unknown email": (n) => `nobody${String(n)}@example.com`,
    "account without a password": () => "without@example.com",
  };
  const times: Record<string, number[]> = {};
  const answers = new Set<string>();
  for (let n = 0; n < TRIES; n += 1) {
    // What is tried is counted; the clock of the test lets the tries come back.
    role.clock.advance(MINUTE_MS);
    for (const [kind, emailOf] of Object.entries(emails)) {
      const startedAt = performance.now();
      const { kind: code, reason, message, details } = await refusal(logIn({ email: emailOf(n) }, "another password"));
      (times[kind] ??= []).push(performance.now() - startedAt);
      answers.add(JSON.stringify([code, reason, message, details.metadata]));
    }
  }
  compare(times);
  expect([...answers]).toHaveLength(1);
});

test(`${String(TRIES)} requests for a new password of each kind take the same time`, { timeout: 120_000 }, async () => {
  await using role = await startTestRole("user", userRole);
  const { auth, createUser, users } = accountsOf(role);
  const [user, gone] = [await createUser(), await createUser()];
  await users(admin).deactivateUser({ id: gone.id });
  const emails: Readonly<Record<string, (n: number) => string>> = {
    account: () => user.email,
    "unknown email": (n) => `nobody${String(n)}@example.com`,
    "deactivated account": () => gone.email,
  };
  const times: Record<string, number[]> = {};
  for (let n = 0; n < TRIES; n += 1) {
    role.clock.advance(5 * MINUTE_MS);
    for (const [kind, emailOf] of Object.entries(emails)) {
      const startedAt = performance.now();
      expect(await auth().requestPasswordReset({ email: emailOf(n) })).toMatchObject({});
      (times[kind] ??= []).push(performance.now() - startedAt);
    }
  }
  compare(times);
});

/** Prints the medians; they are alike. */
function compare(times: Readonly<Record<string, readonly number[]>>): void {
  const medians = Object.entries(times).map(([kind, all]) => [kind, medianOf(all)] as const);
  const shortest = Math.min(...medians.map(([, ms]) => ms));
  for (const [kind, ms] of medians) {
    process.stdout.write(
      `${kind}: median of ${String(TRIES)} ${ms.toFixed(1)} ms, ratio ${(ms / shortest).toFixed(2)}\n`,
    );
    expect(ms / shortest, kind).toBeLessThan(1.2);
  }
}

function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}
