import { timestampMs } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";
import { UserEventSchema } from "#gen/commerce/user/v1/events_pb.ts";
import { UserRole } from "#gen/commerce/user/v1/user_pb.ts";
import { createOutbox } from "../../src/platform/events/outbox.ts";
import { newId } from "../../src/platform/id.ts";
import { announceUsers } from "../../src/roles/user/events.ts";
import userRole from "../../src/roles/user/index.ts";
import { hashPassword } from "../../src/roles/user/password.ts";
import { pruneAccounts } from "../../src/roles/user/prune-accounts.ts";
import { SESSION_MS } from "../../src/roles/user/session.ts";
import { setUserRoles } from "../../src/roles/user/set-user-roles.ts";
import { findPassword, updatePassword } from "../../src/roles/user/store-credentials.ts";
import { REVOCATION_MS } from "../../src/roles/user/store-sessions.ts";
import { lockUser } from "../../src/roles/user/store.ts";
import type { TestRole } from "../support/role.ts";
import { present, refusal, replayNote, settled, silent, startTestRole } from "../support/role.ts";
import { DAY_MS, MINUTE_MS, PASSWORD, accountsOf, admin, overtaken, subjectOf } from "./auth-support.ts";

let role: TestRole;
let accounts: ReturnType<typeof accountsOf>;
beforeAll(async () => {
  role = await startTestRole("user", userRole);
  accounts = accountsOf(role);
});
afterAll(() => role[Symbol.asyncDispose]());

const refresh = ({ refreshToken }: { readonly refreshToken: string }) => accounts.auth().refresh({ refreshToken });
const changePassword = (as: Parameters<typeof subjectOf>[0], currentPassword: string, newPassword: string) =>
  accounts.auth(subjectOf(as)).changePassword({ currentPassword, newPassword });

test("Logout ends the session of the token, once", async () => {
  const user = await accounts.createUser();
  const [mine, other] = [await accounts.logIn(user), await accounts.logIn(user)];
  await accounts.auth(subjectOf(mine)).logout({});
  await accounts.auth(subjectOf(mine)).logout({});
  expect((await refusal(refresh(mine))).reason).toBe("TOKEN_INVALID");
  await refresh(other);
  const revoked = await accounts.revokedSessions();
  expect(revoked.filter((id) => id === subjectOf(mine).sessionId)).toHaveLength(1);
  expect(revoked).not.toContain(subjectOf(other).sessionId);
  // A session of somebody else is not the caller's to end.
  const stranger = await accounts.createUser();
  await accounts.auth({ ...subjectOf(other), id: stranger.id }).logout({});
  expect(await accounts.sessionIdsOf(user)).toEqual([subjectOf(other).sessionId]);
});

test("at most 100 sessions of a user are open: the next login ends the oldest", async () => {
  const user = await accounts.createUser();
  const first = await accounts.logIn(user);
  const now = role.clock.now();
  const made = Array.from({ length: 99 }, () => ({
    id: newId(),
    user_id: user.id,
    client: "",
    created_at: now,
    last_used_at: now,
    expires_at: new Date(now.getTime() + SESSION_MS),
    ended_at: null,
  }));
  await accounts.db.insertInto("sessions").values(made).execute();
  expect(await accounts.sessionIdsOf(user)).toHaveLength(100);
  const added = await Promise.all([accounts.logIn(user), accounts.logIn(user)]);
  const kept = [...made.slice(1).map(({ id }) => id), ...added.map((login) => subjectOf(login).sessionId)];
  expect(new Set(await accounts.sessionIdsOf(user))).toEqual(new Set(kept));
  const ended = [subjectOf(first).sessionId, made[0]?.id];
  expect(await accounts.revokedSessions()).toEqual(expect.arrayContaining(ended));
});

test("ListSessions: one's own, the last used first, and anybody's with the permission", async () => {
  const user = await accounts.createUser();
  const a = await accounts.logIn(user, PASSWORD, { "x-client-agent": "Firefox" });
  role.clock.advance(1_000);
  const b = await accounts.logIn(user);
  role.clock.advance(1_000);
  await refresh(a);
  const { sessions } = await accounts.auth(subjectOf(b)).listSessions({});
  expect(sessions).toMatchObject([
    { id: subjectOf(a).sessionId, client: "Firefox", current: false },
    { id: subjectOf(b).sessionId, client: "", current: true },
  ]);
  const now = role.clock.now().getTime();
  expect(sessions.map(({ lastUsedAt }) => timestampMs(present(lastUsedAt)))).toEqual([now, now - 1_000]);
  const stranger = accounts.auth(subjectOf(await accounts.logIn(await accounts.createUser())));
  for (const userId of [user.id, newId()]) {
    expect((await refusal(stranger.listSessions({ userId }))).reason).toBe("ACCESS_DENIED");
  }
  expect((await refusal(accounts.auth(admin).listSessions({ userId: newId() }))).reason).toBe("NOT_FOUND");
  role.clock.advance(SESSION_MS - 500);
  expect(await accounts.sessionIdsOf(user)).toEqual([subjectOf(a).sessionId]);
});

test("LogoutEverywhere ends all sessions of the caller, or of whom it may", async () => {
  const user = await accounts.createUser();
  const [a, b] = [await accounts.logIn(user), await accounts.logIn(user)];
  const mine = accounts.auth(subjectOf(a));
  expect(await mine.logoutEverywhere({})).toMatchObject({ endedSessions: 2 });
  expect(await mine.logoutEverywhere({})).toMatchObject({ endedSessions: 0 });
  expect((await refusal(refresh(b))).reason).toBe("TOKEN_INVALID");
  await accounts.logIn(user);
  const stranger = accounts.auth(subjectOf(await accounts.logIn(await accounts.createUser())));
  expect((await refusal(stranger.logoutEverywhere({ userId: user.id }))).reason).toBe("ACCESS_DENIED");
  expect((await accounts.auth(admin).logoutEverywhere({ userId: user.id.toUpperCase() })).endedSessions).toBe(1);
  expect((await refusal(accounts.auth(admin).logoutEverywhere({ userId: newId() }))).reason).toBe("NOT_FOUND");
});

test("ChangePassword ends the other sessions; the password before is no good any more", async () => {
  const user = await accounts.createUser();
  const [mine, other] = [await accounts.logIn(user), await accounts.logIn(user)];
  expect((await refusal(changePassword(mine, "another password", "password two"))).reason).toBe("CREDENTIALS_INVALID");
  expect((await refusal(changePassword(mine, PASSWORD, "short"))).details.fields?.[0]?.field).toBe("new_password");
  await changePassword(mine, PASSWORD, "password two");
  expect((await refusal(refresh(other))).reason).toBe("TOKEN_INVALID");
  await refresh(mine);
  expect((await refusal(accounts.logIn(user))).reason).toBe("CREDENTIALS_INVALID");
  await accounts.logIn(user, "password two");

  const tries = await settled(Array.from({ length: 12 }, () => changePassword(mine, PASSWORD, "password three")));
  expect(tries.reasons.filter((reason) => reason === "RATE_LIMITED")).toHaveLength(2);
  const { id } = present((await accounts.users().createUser({ email: `${newId()}@example.com` })).user);
  const without = accounts.auth({ kind: "user", id, permissions: [] });
  const refused = await refusal(without.changePassword({ currentPassword: "x", newPassword: PASSWORD }));
  expect(refused.reason).toBe("CREDENTIALS_INVALID");
});

test("of 5 ChangePassword and 5 Login at once no session of the password before is left", async () => {
  const user = await accounts.createUser();
  const mine = await accounts.logIn(user);
  const changes = Array.from({ length: 5 }, (_, index) => changePassword(mine, PASSWORD, `password ${String(index)}`));
  const logins = Array.from({ length: 5 }, () => accounts.logIn(user));
  const [changed] = await Promise.all([settled(changes), settled(logins)]);
  expect(changed.answers).toHaveLength(1);
  expect(new Set(changed.reasons)).toEqual(new Set(["CREDENTIALS_INVALID"]));
  expect(await accounts.sessionIdsOf(user)).toEqual([subjectOf(mine).sessionId]);
});

test("a login whose password is changed while it is under way is refused", async () => {
  const user = await accounts.createUser();
  const { db } = accounts;
  const changed = await overtaken(
    db,
    (trx) => lockUser(trx, user.id),
    () => accounts.logIn(user),
    async (trx) => {
      const known = present(await findPassword(trx, user.id));
      await updatePassword(trx, known, await hashPassword("another password"), role.clock.now());
    },
  );
  expect(changed).toMatchObject({ status: "rejected", reason: { error: { reason: "CREDENTIALS_INVALID" } } });
  expect(await accounts.sessionIdsOf(user)).toEqual([]);
});

test("a deactivated user has no session, and gets none, also while logging in", async () => {
  const user = await accounts.createUser();
  const login = await accounts.logIn(user);
  const logins = Array.from({ length: 5 }, () => accounts.logIn(user));
  await Promise.all([settled(logins), accounts.users(admin).deactivateUser({ id: user.id })]);
  expect(await accounts.sessionIdsOf(user)).toEqual([]);
  expect((await refusal(refresh(login))).reason).toBe("TOKEN_INVALID");
  expect(await accounts.revokedSessions()).toContain(subjectOf(login).sessionId);
  await accounts.users(admin).reactivateUser({ id: user.id });
  expect((await refusal(refresh(login))).reason).toBe("TOKEN_INVALID");
  role.clock.advance(5 * MINUTE_MS);
  await accounts.logIn(user);
});

test("SetUserRoles: what is added counts from the next refresh on, what is taken away ends the sessions", async () => {
  const user = await accounts.createUser();
  const login = await accounts.logIn(user);
  const { setUserRoles: set } = accounts.auth(admin);
  const request = { userId: user.id, roles: [UserRole.SUPPORT], expectedVersion: 1, idempotencyKey: "roles" };
  const [first, note] = [await set(request), replayNote()];
  expect(first.user).toMatchObject({ roles: [UserRole.SUPPORT], version: 2 });
  expect(await set(request, note.options)).toEqual(first);
  expect(note.replayed).toBe("true");
  // The same roles again change nothing, whatever version is expected.
  expect(await set({ ...request, idempotencyKey: "" })).toEqual(first);
  const next = await refresh(login);
  expect(subjectOf(next).permissions).toEqual([
    "notification.read",
    "order.read",
    "order.refund",
    "order.write",
    "payment.read",
    "stock.read",
    "user.read",
  ]);
  expect((await accounts.users(subjectOf(next)).getProfile({})).permissions).toEqual(subjectOf(next).permissions);
  expect((await refusal(accounts.auth(subjectOf(next)).setUserRoles(request))).reason).toBe("ACCESS_DENIED");

  const stale = { userId: user.id, roles: [], expectedVersion: 1 };
  expect((await refusal(set(stale))).reason).toBe("VERSION_MISMATCH");
  await set({ userId: user.id, roles: [] });
  expect((await refusal(refresh(next))).reason).toBe("TOKEN_INVALID");
  expect(await accounts.revokedSessions()).toContain(subjectOf(login).sessionId);
  expect((await refusal(set({ userId: newId() }))).reason).toBe("NOT_FOUND");
  const twice = await refusal(set({ userId: user.id, roles: [UserRole.ADMIN, UserRole.ADMIN] }));
  expect(twice.reason).toBe("INVALID_REQUEST");
});

test("the last active admin stays one, also when all of them go at once", async () => {
  const admins = await Promise.all(Array.from({ length: 6 }, () => accounts.createUser()));
  const { setUserRoles: set } = accounts.auth(admin);
  for (const { id } of admins) await set({ userId: id, roles: [UserRole.ADMIN] });
  const { reasons } = await settled(
    admins.map(
      ({ id }, index): Promise<unknown> =>
        index % 2 === 0 ? set({ userId: id, roles: [UserRole.SUPPORT] }) : accounts.users(admin).deactivateUser({ id }),
    ),
  );
  expect(reasons).toEqual(["LAST_ADMIN"]);
  const rows = await accounts.db.selectFrom("users").selectAll().where("state", "=", "active").execute();
  const left = rows.filter(({ roles }) => roles.includes("admin"));
  expect(left).toHaveLength(1);
  const { id } = present(left[0]);
  const last = { kind: "failed_precondition", reason: "LAST_ADMIN" };
  expect(await refusal(set({ userId: id, roles: [] }))).toMatchObject(last);
  expect(await refusal(accounts.users(admin).deactivateUser({ id }))).toMatchObject(last);
  expect((await accounts.users(admin).getUser({ id })).user?.roles).toEqual([UserRole.ADMIN]);
});

test("two admins who take the role from each other do not both succeed", async () => {
  await using alone = await startTestRole("user", userRole);
  const { db, auth, createUser } = accountsOf(alone);
  const [a, b] = [await createUser(), await createUser()];
  const announce = announceUsers(createOutbox({ schema: UserEventSchema, version: 1, wake: () => undefined }), silent);
  const { setUserRoles: set } = auth(admin);
  for (const { id } of [a, b]) await set({ userId: id, roles: [UserRole.ADMIN] });
  const second = await overtaken(
    db,
    (trx) => setUserRoles(trx, a.id, 0, [], alone.clock.now(), announce),
    () => set({ userId: b.id, roles: [] }),
  );
  expect(second).toMatchObject({ status: "rejected", reason: { error: { reason: "LAST_ADMIN" } } });
});

test("what is about the caller needs a user", async () => {
  const nobody = accounts.auth();
  const refused = await settled<unknown>([
    nobody.logout({}),
    nobody.logoutEverywhere({}),
    nobody.listSessions({}),
    nobody.changePassword({ currentPassword: PASSWORD, newPassword: PASSWORD }),
  ]);
  expect(refused.reasons).toEqual(Array.from({ length: 4 }, () => "TOKEN_MISSING"));
  const service = role.client(AuthService, { role: "order" });
  const denied = await settled<unknown>([service.logout({}), service.logoutEverywhere({}), service.listSessions({})]);
  expect(denied.reasons).toEqual(Array.from({ length: 3 }, () => "ACCESS_DENIED"));
});

test("what is over is forgotten", async () => {
  await using alone = await startTestRole("user", userRole);
  const { db, auth, createUser, logIn } = accountsOf(alone);
  const user = await createUser();
  const [ended, expired] = [await logIn(user), await logIn(user)];
  await auth(subjectOf(ended)).logout({});
  await refusal(logIn(user, "another password"));
  const rows = async (table: "sessions" | "refresh_tokens" | "login_throttle" | "revocations") =>
    (await db.selectFrom(table).selectAll().execute()).length;
  const prune = async () => {
    await pruneAccounts({ db, clock: alone.clock });
    const [sessions, tokens] = [await rows("sessions"), await rows("refresh_tokens")];
    return { sessions, tokens, buckets: await rows("login_throttle"), revocations: await rows("revocations") };
  };
  expect(await prune()).toEqual({ sessions: 2, tokens: 2, buckets: 1, revocations: 1 });
  alone.clock.advance(REVOCATION_MS + 1);
  await auth().refresh({ refreshToken: expired.refreshToken });
  await auth(subjectOf(await logIn(user))).logout({});
  expect(await prune()).toEqual({ sessions: 3, tokens: 4, buckets: 0, revocations: 1 });
  alone.clock.advance(30 * DAY_MS - REVOCATION_MS);
  expect(await prune()).toMatchObject({ sessions: 2, tokens: 3 });
  alone.clock.advance(31 * DAY_MS);
  expect(await prune()).toMatchObject({ sessions: 0, tokens: 0 });
});
