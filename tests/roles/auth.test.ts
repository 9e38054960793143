import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { decodeProtectedHeader, importJWK, jwtVerify } from "jose";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";
import { CreateUserRequestSchema, UserRole, UserService } from "#gen/commerce/user/v1/user_pb.ts";
import type { Subject } from "../../src/platform/call.ts";
import { anonymous } from "../../src/platform/call.ts";
import { requestDigest } from "../../src/platform/digest.ts";
import { newId } from "../../src/platform/id.ts";
import { openCall } from "../../src/platform/incoming.ts";
import { createPipeline } from "../../src/platform/pipeline.ts";
import type { RoleDefinition } from "../../src/platform/role.ts";
import { ALGORITHM, AUDIENCE, ISSUER, LIFETIME_S, TYP } from "../../src/roles/user/access-token.ts";
import { permissionsOf } from "../../src/roles/user/permission.ts";
import { SAMPLE_ACCOUNTS, SAMPLE_PASSWORD } from "../../src/roles/user/sample-accounts.ts";
import userRole from "../../src/roles/user/index.ts";
import { hashPassword } from "../../src/roles/user/password.ts";
import { SESSION_MS } from "../../src/roles/user/session.ts";
import type { TestRole } from "../support/role.ts";
import { createTestClock, present, refusal, replayNote, settled, startTestRole } from "../support/role.ts";
import { DAY_MS, MINUTE_MS, PASSWORD, accountsOf, admin, subjectOf } from "./auth-support.ts";

let role: TestRole;
let accounts: ReturnType<typeof accountsOf>;
beforeAll(async () => {
  role = await startTestRole("user", userRole);
  accounts = accountsOf(role);
});
afterAll(() => role[Symbol.asyncDispose]());

const refresh = (refreshToken: string) => accounts.auth().refresh({ refreshToken });

test("Login answers a token that verifies against the published keys, and says who it is", async () => {
  const user = await accounts.createUser();
  const answer = await accounts.logIn({ email: user.email.toUpperCase() });
  expect(answer.user).toEqual(user);
  const { kid = "", ...header } = decodeProtectedHeader(answer.accessToken);
  expect(header).toEqual({ alg: ALGORITHM, typ: TYP });
  const { keys } = await accounts.gateway.listSigningKeys({});
  const key = present(keys.find(({ id }) => id === kid));
  const jwk = { kty: "OKP", crv: "Ed25519", x: Buffer.from(key.publicKey).toString("base64url") };
  const { payload } = await jwtVerify(answer.accessToken, await importJWK(jwk, ALGORITHM), {
    issuer: ISSUER,
    audience: AUDIENCE,
    typ: TYP,
    currentDate: role.clock.now(),
  });
  expect(payload).toMatchObject({ sub: user.id, permissions: [] });
  expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(LIFETIME_S);
  expect(timestampMs(present(answer.accessTokenExpiresAt))).toBe((payload.exp ?? 0) * 1_000);
  expect(payload.jti).toMatch(/^[0-9a-f-]{36}$/);
  expect(await accounts.sessionIdsOf(user)).toEqual([payload["sid"]]);
  expect(timestampMs(present(answer.refreshTokenExpiresAt))).toBe(role.clock.now().getTime() + SESSION_MS);
});

test("whatever is wrong with a login gets the same answer", async () => {
  const [user, barred] = [await accounts.createUser(), await accounts.createUser()];
  const without = present((await accounts.users().createUser({ email: "without@example.com" })).user);
  await accounts.users(admin).deactivateUser({ id: barred.id });
  const wrong = await refusal(accounts.logIn(user, "another password"));
  expect(wrong).toMatchObject({ kind: "unauthenticated", reason: "CREDENTIALS_INVALID", details: {} });
  for (const account of [barred, without, { email: "nobody@example.com" }, { email: "\u212a" }]) {
    const { kind, reason, message, details } = await refusal(accounts.logIn(account));
    expect([kind, reason, message, details]).toEqual([wrong.kind, wrong.reason, wrong.message, wrong.details]);
  }
  const faulty = await refusal(accounts.logIn({ email: "" }, "x".repeat(129)));
  expect(faulty.details.fields?.map(({ field }) => field)).toEqual(["email", "password"]);
});

test("a login asks the database the same for an account that exists and for one that does not", async () => {
  await using alone = await startTestRole("user", userRole);
  const { createUser, logIn } = accountsOf(alone);
  const user = await createUser();
  const asked = { known: [] as number[], unknown: [] as number[] };
  for (let index = 0; index < 5; index += 1) {
    for (const [kind, email] of [["known", user.email] as const, ["unknown", "nobody@example.com"] as const]) {
      const before = alone.statements.length;
      await refusal(logIn({ email }, "another password"));
      asked[kind].push(alone.statements.length - before);
    }
  }
  // The least: what the role does by itself may come between. That they take the same time is measured by test:scale.
  expect(Math.min(...asked.known)).toBe(Math.min(...asked.unknown));
});

test("passwords are stored with the parameters of today; a login renews those of before", async () => {
  const user = await accounts.createUser();
  const { db } = accounts;
  const stored = async () => {
    const row = await db.selectFrom("credentials").selectAll().where("user_id", "=", user.id).executeTakeFirst();
    return row?.password_hash;
  };
  const today = /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/;
  expect(await stored()).toMatch(today);

  const before = await hashPassword(PASSWORD, { memory: 64, passes: 1, parallelism: 1 });
  await db.updateTable("credentials").set({ password_hash: before }).where("user_id", "=", user.id).execute();
  expect((await refusal(accounts.logIn(user, "another password"))).reason).toBe("CREDENTIALS_INVALID");
  expect(await stored()).toBe(before);
  await Promise.all([accounts.logIn(user), accounts.logIn(user)]);
  expect(await stored()).toMatch(today);
  await accounts.logIn(user);
});

test("CreateUser with a key: a replay has no password in it, another password is another request", async () => {
  const users = accounts.users();
  const request = { email: "keyed@example.com", password: PASSWORD, idempotencyKey: "with a password" };
  const first = await users.createUser(request);
  const note = replayNote();
  expect(await users.createUser(request, note.options)).toEqual(first);
  expect(note.replayed).toBe("true");
  const other = await refusal(users.createUser({ ...request, password: "another password" }));
  expect(other.reason).toBe("IDEMPOTENCY_KEY_REUSED");
  await accounts.logIn(request);
  const rows = await accounts.db
    .selectFrom("idempotency_keys")
    .selectAll()
    .where("key", "=", request.idempotencyKey)
    .execute();
  expect(rows).toHaveLength(1);
  expect(rows[0]?.response.includes(PASSWORD)).toBe(false);
  // A digest that can be made without the role's key would let passwords be tried against it.
  const { idempotencyKey: _, ...fields } = request;
  const digest = requestDigest(CreateUserRequestSchema, create(CreateUserRequestSchema, fields), []);
  expect(rows[0]?.request_hash).not.toEqual(digest);
});

test("a password has 8 to 128 characters, whatever they take in bytes", async () => {
  const email = "foxes@example.com";
  for (const password of ["1234567", "x".repeat(129)]) {
    const faulty = await refusal(accounts.users().createUser({ email, password }));
    expect(faulty.details.fields?.map(({ field }) => field)).toEqual(["password"]);
  }
  const foxes = "\u{1f98a}".repeat(128);
  await accounts.users().createUser({ email, password: foxes });
  await accounts.logIn({ email }, foxes);
});

test("logins of an account are limited, whether it exists or not, until time passes or one succeeds", async () => {
  const user = await accounts.createUser();
  const limited: unknown[] = [];
  for (const email of [user.email, "nobody-at-all@example.com"]) {
    const { reasons } = await settled(Array.from({ length: 15 }, () => accounts.logIn({ email }, "another password")));
    expect(reasons.filter((reason) => reason === "CREDENTIALS_INVALID")).toHaveLength(10);
    const { kind, reason, message, details } = await refusal(accounts.logIn({ email: email.toUpperCase() }));
    expect({ kind, reason }).toEqual({ kind: "resource_exhausted", reason: "RATE_LIMITED" });
    expect(details).toMatchObject({ retryAfterMs: 30_000, quota: { subject: "logins of this account" } });
    limited.push([message, details]);
  }
  expect(limited[1]).toEqual(limited[0]);

  role.clock.advance(29_999);
  expect((await refusal(accounts.logIn(user))).details.retryAfterMs).toBe(1);
  role.clock.advance(1);
  await accounts.logIn(user);
  const { reasons } = await settled(Array.from({ length: 11 }, () => accounts.logIn(user, "another password")));
  expect(reasons.filter((reason) => reason === "RATE_LIMITED")).toHaveLength(1);
});

test("logins from an address are limited, also by way of several processes", async () => {
  const replica = accountsOf(role, await role.replica());
  const from = (address: string, by = accounts) =>
    by.logIn({ email: `${newId()}@example.com` }, PASSWORD, { "x-client-address": address });
  const reasons: string[] = [];
  for (let round = 0; round < 4; round += 1) {
    const calls = Array.from({ length: 15 }, (_, index) => from("192.0.2.1", index % 2 === 0 ? accounts : replica));
    reasons.push(...(await settled(calls)).reasons);
  }
  expect(reasons.filter((reason) => reason === "CREDENTIALS_INVALID")).toHaveLength(50);
  expect(reasons.filter((reason) => reason === "RATE_LIMITED")).toHaveLength(10);
  expect((await refusal(from("192.0.2.1"))).details).toMatchObject({
    retryAfterMs: 1_000,
    quota: { subject: "logins from this address" },
  });
  expect((await refusal(from("192.0.2.2"))).reason).toBe("CREDENTIALS_INVALID");
});

test("Refresh goes on with the session; each token leads to another", async () => {
  const login = await accounts.logIn(await accounts.createUser());
  role.clock.advance(MINUTE_MS);
  const next = await refresh(login.refreshToken);
  expect(subjectOf(next)).toEqual(subjectOf(login));
  expect(timestampMs(present(next.refreshTokenExpiresAt))).toBe(role.clock.now().getTime() + SESSION_MS);
  const third = await refresh(next.refreshToken);
  expect(new Set([login.refreshToken, next.refreshToken, third.refreshToken]).size).toBe(3);
});

test("50 refreshes of one token at once leave one live token, here and in another process", async () => {
  const replica = accountsOf(role, await role.replica());
  const login = await accounts.logIn(await accounts.createUser());
  const { refreshToken } = login;
  const calls = Array.from({ length: 50 }, (_, index) =>
    (index % 2 === 0 ? accounts : replica).auth().refresh({ refreshToken }),
  );
  const { answers, reasons } = await settled(calls);
  expect(reasons).toEqual([]);
  expect(new Set(answers.map((answer) => answer.refreshToken)).size).toBe(1);
  const live = await accounts.db
    .selectFrom("refresh_tokens")
    .select("hash")
    .where("session_id", "=", subjectOf(login).sessionId)
    .where("used_at", "is", null)
    .execute();
  expect(live).toHaveLength(1);
  await refresh(present(answers[0]).refreshToken);
});

test("a lost answer is given again for ten seconds, as long as what it said was not used", async () => {
  const { refreshToken } = await accounts.logIn(await accounts.createUser());
  const first = await refresh(refreshToken);
  role.clock.advance(10_000);
  const again = await refresh(refreshToken);
  expect(again.refreshToken).toBe(first.refreshToken);
  expect(again.refreshTokenExpiresAt).toEqual(first.refreshTokenExpiresAt);

  await refresh(first.refreshToken);
  expect((await refusal(refresh(refreshToken))).reason).toBe("TOKEN_INVALID");
});

test("a token that is used again later ends its session and no other", async () => {
  const user = await accounts.createUser();
  const [login, other] = [await accounts.logIn(user), await accounts.logIn(user)];
  const next = await refresh(login.refreshToken);
  role.clock.advance(10_001);
  for (const { refreshToken } of [login, next]) {
    expect((await refusal(refresh(refreshToken))).reason).toBe("TOKEN_INVALID");
  }
  expect(await accounts.sessionIdsOf(user)).toEqual([subjectOf(other).sessionId]);
  expect(await accounts.revokedSessions()).toContain(subjectOf(login).sessionId);
});

test("Refresh refuses what is no token, what nobody was given, and what is too old", async () => {
  const { refreshToken } = await accounts.logIn(await accounts.createUser());
  for (const token of ["x", "%", `${refreshToken}=`, `${refreshToken.slice(0, -1)}_`, "A".repeat(43)]) {
    expect(await refusal(refresh(token))).toMatchObject({ kind: "unauthenticated", reason: "TOKEN_INVALID" });
  }
  role.clock.advance(SESSION_MS);
  const late = await refusal(refresh(refreshToken));
  expect(late).toMatchObject({ kind: "unauthenticated", reason: "TOKEN_EXPIRED" });
});

test("the used tokens of a session in use are forgotten after 30 days", async () => {
  const login = await accounts.logIn(await accounts.createUser());
  let { refreshToken } = login;
  for (let day = 0; day < 80; day += 20) {
    ({ refreshToken } = await refresh(refreshToken));
    role.clock.advance(20 * DAY_MS);
  }
  expect((await refusal(refresh(login.refreshToken))).reason).toBe("TOKEN_INVALID");
  await refresh(refreshToken);
  const kept = await accounts.db
    .selectFrom("refresh_tokens")
    .select("hash")
    .where("session_id", "=", subjectOf(login).sessionId)
    .execute();
  expect(kept).toHaveLength(3);
});

test("a password that is too long is refused before anything is done with it", async () => {
  await using alone = await startTestRole("user", userRole);
  const { auth, users, createUser, logIn } = accountsOf(alone);
  const user = await createUser();
  const me = subjectOf(await logIn(user));
  const before = alone.statements.length;
  for (const password of ["x".repeat(129), "x".repeat(1_000_000)]) {
    const calls = [
      auth().login({ email: user.email, password }),
      users().createUser({ email: "other@example.com", password }),
      auth(me).changePassword({ currentPassword: PASSWORD, newPassword: password }),
    ];
    const refused = await Promise.all(calls.map((call) => refusal(call)));
    expect(refused.map(({ reason, details }) => [reason, details.fields?.map(({ field }) => field)])).toEqual([
      ["INVALID_REQUEST", ["password"]],
      ["INVALID_REQUEST", ["password"]],
      ["INVALID_REQUEST", ["new_password"]],
    ]);
  }
  // Not even a try was counted.
  expect(alone.statements).toHaveLength(before);
});

test("nobody gives a role that they do not have, and no machine gives any", async () => {
  const user = await accounts.createUser();
  const give = (subject: Subject, roles: UserRole[]) => accounts.auth(subject).setUserRoles({ userId: user.id, roles });
  const clerk = { kind: "user", id: newId(), permissions: ["user.grant"] } as const;
  const machine = { kind: "machine", id: newId(), permissions: permissionsOf(["admin"]) } as const;
  for (const [subject, roles] of [
    [clerk, [UserRole.ADMIN]],
    [clerk, [UserRole.SUPPORT]],
    [machine, [UserRole.SUPPORT]],
    [machine, []],
  ] as const) {
    expect((await refusal(give(subject, [...roles]))).reason).toBe("ACCESS_DENIED");
  }
  expect((await give(admin, [UserRole.SUPPORT])).user?.roles).toEqual([UserRole.SUPPORT]);
});

test("a process whose clock is ahead locks nobody out elsewhere", async () => {
  await using alone = await startTestRole("user", userRole);
  const { createUser, logIn } = accountsOf(alone);
  const user = await createUser();
  const ahead = await alone.replica({ clock: createTestClock(new Date(alone.clock.now().getTime() + 60 * MINUTE_MS)) });
  await refusal(accountsOf(alone, ahead).logIn(user, "wrong"));
  expect((await refusal(logIn(user))).reason).toBe("RATE_LIMITED");
  // As after as many wrong tries as there may be, and no longer.
  alone.clock.advance(MINUTE_MS / 2);
  expect(await logIn(user)).toBeDefined();
});

test("addSamples adds its accounts once, to an empty shop that only this machine reaches", async () => {
  await using alone = await startTestRole("user", userRole);
  const { users, logIn } = accountsOf(alone);
  await Promise.all([alone.running.addSamples?.(), alone.running.addSamples?.()]);
  await alone.running.addSamples?.();
  expect((await users(admin).listUsers({})).users).toHaveLength(SAMPLE_ACCOUNTS.length);
  const boss = await logIn({ email: "admin@example.com" }, SAMPLE_PASSWORD);
  expect(subjectOf(boss).permissions).toContain("user.grant");
  expect(subjectOf(await logIn({ email: "shopper@example.com" }, SAMPLE_PASSWORD)).permissions).toEqual([]);
});

test("a shop that others reach gets no sample accounts, and takes the login of those that it has", async () => {
  await using alone = await startTestRole("user", userRole);
  const { users, logIn } = accountsOf(alone);
  const { running: reached } = await alone.replica({ tryout: false });
  await reached.addSamples?.();
  expect((await users(admin).listUsers({})).users).toEqual([]);

  await alone.running.addSamples?.();
  const boss = await logIn({ email: "admin@example.com" }, SAMPLE_PASSWORD);
  const shopper = await logIn({ email: "shopper@example.com" }, SAMPLE_PASSWORD);
  const { auth } = accountsOf(alone);
  await auth(subjectOf(shopper)).changePassword({ currentPassword: SAMPLE_PASSWORD, newPassword: "one of my own" });
  await reached.addSamples?.();
  const refused = await refusal(logIn({ email: "admin@example.com" }, SAMPLE_PASSWORD));
  expect(refused.reason).toBe("CREDENTIALS_INVALID");
  expect((await auth(admin).listSessions({ userId: subjectOf(boss).id })).sessions).toEqual([]);
  expect(await logIn({ email: "shopper@example.com" }, "one of my own")).toBeDefined();
});

test("no log line has a password or a token in it", async () => {
  const lines: string[] = [];
  const log = pino({ level: "trace" }, { write: (line: string) => void lines.push(line) });
  const logging: RoleDefinition = { ...userRole, start: (context) => userRole.start({ ...context, log }) };
  await using alone = await startTestRole("user", logging);
  const pipeline = createPipeline("user", alone.running.services);
  /** Calls a method as a client outside would, with the log of this test; undefined where it is refused. */
  async function ask<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    subject: Subject = anonymous,
  ): Promise<MessageShape<O> | undefined> {
    const opened = openCall({
      role: "user",
      method,
      requestId: newId(),
      identity: { subject },
      caller: undefined,
      outside: true,
      timeoutMs: undefined,
      parent: undefined,
      log,
      requestHeader: new Headers(),
      responseHeader: new Headers(),
    });
    try {
      return (await pipeline.one(opened.call, create(method.input, request))) as MessageShape<O>;
    } catch {
      return undefined;
    } finally {
      opened.close();
    }
  }
  const { login, refresh: exchange, changePassword } = AuthService.method;
  const { createUser } = UserService.method;
  const email = "user@example.com";
  const [password, next, wrong] = ["canary-password-1", "canary-password-2", "canary-password-3"];
  await ask(createUser, { email, password });
  await ask(createUser, { email, password });
  await ask(createUser, { email: "no email", password: "canary" });
  await ask(login, { email, password: wrong });
  const first = present(await ask(login, { email, password }));
  const second = present(await ask(exchange, { refreshToken: first.refreshToken }));
  await ask(changePassword, { currentPassword: wrong, newPassword: next }, subjectOf(first));
  await ask(changePassword, { currentPassword: password, newPassword: next }, subjectOf(first));
  alone.clock.advance(MINUTE_MS);
  await ask(exchange, { refreshToken: first.refreshToken });
  // A defect is logged with its cause.
  await accountsOf(alone).db.updateTable("credentials").set({ password_hash: "$argon2id$broken" }).execute();
  await ask(login, { email, password });

  const reused = lines.filter((line) => line.includes("refresh token reused"));
  expect(reused).toHaveLength(1);
  expect(reused[0]).toContain(subjectOf(first).sessionId);
  expect(lines.filter((line) => line.includes("unexpected error"))).toHaveLength(1);
  const tokens = [first, second].flatMap(({ accessToken, refreshToken }) => [accessToken, refreshToken]);
  for (const secret of ["canary", "argon2id$", ...tokens]) {
    expect(lines.filter((line) => line.includes(secret))).toEqual([]);
  }
});
