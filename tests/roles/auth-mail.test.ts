import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AuthService, MailTokenPurpose } from "#gen/commerce/user/v1/auth_pb.ts";
import { UserEventSchema } from "#gen/commerce/user/v1/events_pb.ts";
import type { User } from "#gen/commerce/user/v1/user_pb.ts";
import { UserRole } from "#gen/commerce/user/v1/user_pb.ts";
import { transaction } from "../../src/platform/database.ts";
import { BROADCAST_BYTES } from "../../src/platform/events/bus-limits.ts";
import { createOutbox } from "../../src/platform/events/outbox.ts";
import type { Broadcast } from "../../src/platform/events/role-events.ts";
import { newId } from "../../src/platform/id.ts";
import { announceUsers } from "../../src/roles/user/events.ts";
import userRole from "../../src/roles/user/index.ts";
import { until } from "../support/conditions.ts";
import { eventsOf } from "../support/outbox.ts";
import type { TestRole } from "../support/role.ts";
import { present, refusal, settled, silent, startTestRole } from "../support/role.ts";
import type { UserSubject } from "./auth-support.ts";
import { DAY_MS, MINUTE_MS, PASSWORD, accountsOf, admin, overtaken, subjectOf } from "./auth-support.ts";

let role: TestRole;
let accounts: ReturnType<typeof accountsOf>;
beforeAll(async () => {
  role = await startTestRole("user", userRole);
  accounts = accountsOf(role);
});
afterAll(() => role[Symbol.asyncDispose]());

const NEXT = "the next password";
const mailer = () => role.client(AuthService, { role: "notification" });

/** The types of a user's events, in their order. */
async function typesOf({ id }: Pick<User, "id">): Promise<string[]> {
  return (await eventsOf(role.database<never>(), UserEventSchema, id)).map(({ type }) => type);
}

async function tokenFor({ id }: Pick<User, "id">, purpose: MailTokenPurpose): Promise<string> {
  return (await mailer().getMailRecipient({ userId: id, purpose })).token;
}

describe("a new password by mail", () => {
  test("is asked for alike whether there is such an account or not, and told to who sends mails", async () => {
    const user = await accounts.createUser();
    const gone = await accounts.createUser();
    await accounts.users(admin).deactivateUser({ id: gone.id });
    const { requestPasswordReset: ask } = accounts.auth();
    for (const email of [user.email.toUpperCase(), gone.email, `${newId()}@example.com`]) await ask({ email });
    await until(async () => (await typesOf(user)).includes("user.password_reset_requested"));
    await until(async () => {
      const { rows } = await sql`select from password_reset_requests`.execute(accounts.db);
      return rows.length === 0;
    });
    expect(await typesOf(user)).toEqual(["user.created", "user.password_reset_requested"]);
    expect(await typesOf(gone)).toEqual(["user.created", "user.deactivated"]);
  });

  test("holds no secret in its event", async () => {
    const user = await accounts.createUser();
    await accounts.auth().requestPasswordReset({ email: user.email });
    await until(async () => (await typesOf(user)).length === 2);
    const last = (await eventsOf(role.database<never>(), UserEventSchema, user.id)).at(-1);
    expect(last?.event).toEqual({
      case: "passwordResetRequested",
      value: { $typeName: "commerce.user.v1.UserPasswordResetRequested", userId: user.id },
    });
  });

  test("is set once, ends all sessions, and confirms the email", async () => {
    const user = await accounts.createUser();
    const session = await accounts.logIn(user);
    const token = await tokenFor(user, MailTokenPurpose.PASSWORD_RESET);
    const { resetPassword: reset } = accounts.auth();
    const tries = await settled(Array.from({ length: 5 }, () => reset({ token, newPassword: NEXT })));
    expect(tries.answers).toHaveLength(1);
    expect(tries.reasons).toEqual(Array.from({ length: 4 }, () => "LINK_INVALID"));
    expect((await refusal(accounts.logIn(user))).reason).toBe("CREDENTIALS_INVALID");
    expect((await refusal(accounts.auth().refresh({ refreshToken: session.refreshToken }))).reason).toBe(
      "TOKEN_INVALID",
    );
    const next = await accounts.logIn(user, NEXT);
    expect(next.user?.emailConfirmed).toBe(true);
    expect(await typesOf(user)).toEqual(["user.created", "user.password_changed", "user.email_confirmed"]);
  });

  test("holds up nobody else where it has to wait", async () => {
    const [user, other] = [await accounts.createUser(), await accounts.createUser()];
    const token = await tokenFor(user, MailTokenPurpose.PASSWORD_RESET);
    await accounts.logIn(user);
    const bystander = accounts.auth(subjectOf(await accounts.logIn(other)));
    const outcome = await overtaken(
      accounts.db,
      (trx) => sql`select from outbox_sequences where aggregate_id = ${user.id} for update`.execute(trx),
      () => accounts.auth().resetPassword({ token, newPassword: NEXT }),
      () => bystander.logout({}),
    );
    expect(outcome.status).toBe("fulfilled");
  });

  test("gives a first password to an account without login", async () => {
    const user = present((await accounts.users().createUser({ email: `${newId()}@example.com` })).user);
    const token = await tokenFor(user, MailTokenPurpose.PASSWORD_RESET);
    await accounts.auth().resetPassword({ token, newPassword: NEXT });
    expect((await accounts.logIn(user, NEXT)).user?.id).toBe(user.id);
    expect((await refusal(accounts.auth().resetPassword({ token, newPassword: PASSWORD }))).reason).toBe(
      "LINK_INVALID",
    );
  });

  test.each<[string, (user: User, token: string) => Promise<string | void>]>([
    [
      "is changed in any letter",
      (_user, token) => Promise.resolve(`${token.slice(0, -2)}${token.at(-2) === "A" ? "B" : "A"}${token.slice(-1)}`),
    ],
    ["is of another purpose", (user) => tokenFor(user, MailTokenPurpose.EMAIL_CONFIRMATION)],
    ["is no token", () => Promise.resolve("no token")],
    [
      "came before another password",
      async (user) => {
        const subject = subjectOf(await accounts.logIn(user));
        await accounts.auth(subject).changePassword({ currentPassword: PASSWORD, newPassword: NEXT });
      },
    ],
    [
      "went to another email",
      async (user) => {
        await accounts.users(admin).updateUser({ id: user.id, email: `${newId()}@example.com` });
      },
    ],
    [
      "is of somebody who may not act any more",
      async (user) => {
        await accounts.users(admin).deactivateUser({ id: user.id });
      },
    ],
  ])("is not set by a token that %s", async (_what, change) => {
    const user = await accounts.createUser();
    const token = await tokenFor(user, MailTokenPurpose.PASSWORD_RESET);
    const presented = (await change(user, token)) ?? token;
    expect(
      await refusal(accounts.auth().resetPassword({ token: presented, newPassword: "never set by it" })),
    ).toMatchObject({
      kind: "failed_precondition",
      reason: "LINK_INVALID",
    });
  });

  test("is not set after half an hour", async () => {
    await using alone = await startTestRole("user", userRole);
    const { auth, createUser, logIn } = accountsOf(alone);
    const user = await createUser();
    const purpose = MailTokenPurpose.PASSWORD_RESET;
    const { token } = await alone
      .client(AuthService, { role: "notification" })
      .getMailRecipient({ userId: user.id, purpose });
    alone.clock.advance(30 * MINUTE_MS);
    expect((await refusal(auth().resetPassword({ token, newPassword: NEXT }))).reason).toBe("LINK_INVALID");
    expect((await logIn(user)).user?.id).toBe(user.id);
  });

  test("is limited by account, of unknown ones alike", async () => {
    for (const email of [(await accounts.createUser()).email, `${newId()}@example.com`]) {
      const tries = await settled(Array.from({ length: 9 }, () => accounts.auth().requestPasswordReset({ email })));
      expect(tries.answers).toHaveLength(5);
      expect(new Set(tries.reasons)).toEqual(new Set(["RATE_LIMITED"]));
    }
  });

  test("is limited by the address of who asks, for whomever", async () => {
    const headers = { "x-client-address": "192.0.2.77" };
    const ask = () => accounts.auth().requestPasswordReset({ email: `${newId()}@example.com` }, { headers });
    const tries = await settled(Array.from({ length: 24 }, ask));
    expect(tries.answers).toHaveLength(20);
    expect(new Set(tries.reasons)).toEqual(new Set(["RATE_LIMITED"]));
  });
});

describe("an email", () => {
  test("is confirmed by the token of its mail, as often as one likes", async () => {
    const user = await accounts.createUser();
    expect(user.emailConfirmed).toBe(false);
    const token = await tokenFor(user, MailTokenPurpose.EMAIL_CONFIRMATION);
    for (let time = 0; time < 2; time += 1) await accounts.auth().confirmEmail({ token });
    expect((await accounts.users(admin).getUser({ id: user.id })).user?.emailConfirmed).toBe(true);
    expect(await typesOf(user)).toEqual(["user.created", "user.email_confirmed"]);
  });

  test("that is another one is not confirmed, and asked for", async () => {
    const user = await accounts.createUser();
    const token = await tokenFor(user, MailTokenPurpose.EMAIL_CONFIRMATION);
    await accounts.auth().confirmEmail({ token });
    const { user: cased } = await accounts.users(admin).updateUser({ id: user.id, email: user.email.toUpperCase() });
    expect(cased?.emailConfirmed).toBe(true);
    const { user: changed } = await accounts.users(admin).updateUser({ id: user.id, email: `${newId()}@example.com` });
    expect(changed?.emailConfirmed).toBe(false);
    expect((await refusal(accounts.auth().confirmEmail({ token }))).reason).toBe("LINK_INVALID");
    expect(await typesOf(user)).toEqual([
      "user.created",
      "user.email_confirmed",
      "user.updated",
      "user.updated",
      "user.email_confirmation_requested",
    ]);
  });

  test("is changed by its user a few times at once, whether it is free or taken", async () => {
    const [user, other] = [await accounts.createUser(), await accounts.createUser()];
    const subject = subjectOf(await accounts.logIn(user));
    const own = accounts.users(subject);
    const emails = [other.email, ...Array.from({ length: 4 }, () => `${newId()}@example.com`)];
    for (const email of emails) await own.updateProfile({ email }).catch(() => undefined);
    const more = { email: `${newId()}@example.com` };
    expect((await refusal(own.updateProfile(more))).reason).toBe("RATE_LIMITED");
    expect((await refusal(own.updateUser({ id: user.id.toUpperCase(), ...more }))).reason).toBe("RATE_LIMITED");
    expect((await own.updateProfile({ displayName: "Ada" })).user?.displayName).toBe("Ada");
    expect((await accounts.users(admin).updateUser({ id: user.id, ...more })).user?.email).toBe(more.email);
  });

  test("is asked for once more by its user, where it is not confirmed", async () => {
    const user = await accounts.createUser();
    const subject = subjectOf(await accounts.logIn(user));
    await accounts.auth(subject).requestEmailConfirmation({});
    await accounts.auth().confirmEmail({ token: await tokenFor(user, MailTokenPurpose.EMAIL_CONFIRMATION) });
    await accounts.auth(subject).requestEmailConfirmation({});
    expect(await typesOf(user)).toEqual(["user.created", "user.email_confirmation_requested", "user.email_confirmed"]);
  });

  test("is not confirmed after a week", async () => {
    await using alone = await startTestRole("user", userRole);
    const { auth, createUser } = accountsOf(alone);
    const { id: userId } = await createUser();
    const purpose = MailTokenPurpose.EMAIL_CONFIRMATION;
    const { token } = await alone.client(AuthService, { role: "notification" }).getMailRecipient({ userId, purpose });
    alone.clock.advance(7 * DAY_MS);
    expect((await refusal(auth().confirmEmail({ token }))).reason).toBe("LINK_INVALID");
  });
});

test("who sends mails alone reads to whom; without a link for who may not act", async () => {
  const user = present((await accounts.users().createUser({ email: `${newId()}@example.com`, locale: "de-AT" })).user);
  const request = { userId: user.id, purpose: MailTokenPurpose.PASSWORD_RESET };
  expect((await refusal(accounts.auth(admin).getMailRecipient(request))).reason).toBe("ACCESS_DENIED");
  expect((await refusal(role.client(AuthService, { role: "order" }).getMailRecipient(request))).reason).toBe(
    "ACCESS_DENIED",
  );
  expect(await mailer().getMailRecipient(request)).toMatchObject({ email: user.email, locale: "de-AT", active: true });
  await accounts.users(admin).deactivateUser({ id: user.id });
  expect(await mailer().getMailRecipient(request)).toMatchObject({ active: false, token: "" });
  expect((await refusal(mailer().getMailRecipient({ userId: newId() }))).reason).toBe("NOT_FOUND");
});

test("ended sessions are told in as many hints as they need", async () => {
  const hints: Uint8Array[] = [];
  const broadcast: Broadcast = { ...silent, send: (_channel, body) => hints.push(body) };
  const outbox = createOutbox({ schema: UserEventSchema, version: 1, wake: () => undefined });
  const ids = Array.from({ length: 300 }, newId);
  await transaction(accounts.db, (trx) => {
    announceUsers(outbox, broadcast).sessionsEnded(trx, ids);
    return Promise.resolve();
  });
  expect(hints.flatMap((hint) => Buffer.from(hint).toString().split(","))).toEqual(ids);
  expect(Math.max(...hints.map(({ length }) => length))).toBeLessThanOrEqual(BROADCAST_BYTES);
});

test("every change of a user has its event, and what changes nothing has none", async () => {
  const user = await accounts.createUser();
  const { id } = user;
  const users = accounts.users(admin);
  const subject = subjectOf(await accounts.logIn(user));
  const own = accounts.users(subject);
  const address = { name: "Ada", lines: ["1 Main Street"], city: "Berlin", countryCode: "DE" };
  await users.updateUser({ id });
  await users.updateUser({ id, displayName: "Ada" });
  await own.updateProfile({ locale: "de" });
  const { entry } = await own.addAddress({ address });
  await own.updateAddress({ id: present(entry).id, address });
  await own.removeAddress({ id: present(entry).id });
  await own.removeAddress({ id: present(entry).id });
  await accounts.auth(admin).setUserRoles({ userId: id, roles: [UserRole.SUPPORT] });
  await accounts.auth(admin).setUserRoles({ userId: id, roles: [UserRole.SUPPORT] });
  await accounts.auth(subject).changePassword({ currentPassword: PASSWORD, newPassword: NEXT });
  await users.deactivateUser({ id });
  await users.deactivateUser({ id });
  await users.reactivateUser({ id });
  expect((await refusal(users.updateUser({ id, expectedVersion: 1, displayName: "Late" }))).reason).toBe(
    "VERSION_MISMATCH",
  );
  expect(await typesOf(user)).toEqual([
    "user.created",
    "user.updated",
    "user.updated",
    "user.address_added",
    "user.address_changed",
    "user.address_removed",
    "user.roles_changed",
    "user.password_changed",
    "user.deactivated",
    "user.reactivated",
  ]);
});

describe("one's own email", () => {
  const ways = ["UpdateProfile", "UpdateUser"] as const;

  async function change(
    way: (typeof ways)[number],
    subject: UserSubject,
    email: string,
    currentPassword = "",
  ): Promise<{ readonly user?: User | undefined }> {
    const own = accounts.users(subject);
    const key = { idempotencyKey: newId() };
    return way === "UpdateProfile"
      ? own.updateProfile({ email, currentPassword, ...key })
      : own.updateUser({ id: subject.id, email, currentPassword, ...key });
  }

  test.each(ways)("is changed by %s with the password, and not by who has but the session", async (way) => {
    const user = await accounts.createUser();
    const thief = subjectOf(await accounts.logIn(user));
    for (const password of ["", "another password"]) {
      expect((await refusal(change(way, thief, `${newId()}@example.com`, password))).reason).toBe(
        "CREDENTIALS_INVALID",
      );
    }
    expect((await accounts.users(admin).getUser({ id: user.id })).user?.email).toBe(user.email);
    // What changes nothing needs none.
    expect((await change(way, thief, user.email.toUpperCase())).user?.email).toBe(user.email.toUpperCase());
    const email = `${newId()}@example.com`;
    expect((await change(way, thief, email, PASSWORD)).user?.email).toBe(email);
  });

  test("is guessed at as often as it may be changed", async () => {
    const user = await accounts.createUser();
    const thief = subjectOf(await accounts.logIn(user));
    const tries = await settled(
      Array.from({ length: 8 }, (_, n) =>
        change("UpdateProfile", thief, `${newId()}@example.com`, `guess ${String(n)}`),
      ),
    );
    expect(tries.reasons.toSorted()).toEqual([
      ...Array.from({ length: 5 }, () => "CREDENTIALS_INVALID"),
      ...Array.from({ length: 3 }, () => "RATE_LIMITED"),
    ]);
  });

  test("needs no password where there is none", async () => {
    const user = present((await accounts.users().createUser({ email: `${newId()}@example.com` })).user);
    const email = `${newId()}@example.com`;
    const changed = await change("UpdateProfile", { kind: "user", id: user.id, permissions: [] }, email);
    expect(changed.user?.email).toBe(email);
  });
});
