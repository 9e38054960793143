import type { JWTPayload } from "jose";
import { decodeJwt } from "jose";
import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import type { LoginResponse } from "#gen/commerce/user/v1/auth_pb.ts";
import { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";
import type { User } from "#gen/commerce/user/v1/user_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import type { Subject } from "../../src/platform/call.ts";
import { anonymous } from "../../src/platform/call.ts";
import { transaction } from "../../src/platform/database.ts";
import { newId } from "../../src/platform/id.ts";
import { permissionsOf } from "../../src/roles/user/permission.ts";
import type { UserTables } from "../../src/roles/user/schema.ts";
import { until } from "../support/conditions.ts";
import type { TestRole } from "../support/role.ts";
import { present } from "../support/role.ts";

/** The password of every user that {@link accountsOf} makes. */
export const PASSWORD = "a password of the tests";

export const MINUTE_MS = 60_000;
export const DAY_MS = 24 * 60 * MINUTE_MS;

/** Somebody who may do everything to users; no user of the database. */
export const admin: Subject = {
  kind: "user",
  id: newId(),
  permissions: permissionsOf(["admin"]),
};

/** A user as a subject. */
export type UserSubject = Extract<Subject, { kind: "user" }>;

/** The caller that an access token proves. */
export function subjectOf({ accessToken }: Pick<LoginResponse, "accessToken">): UserSubject & { sessionId: string } {
  const { sub = "", sid, permissions } = decodeJwt<JWTPayload & { sid: string; permissions: string[] }>(accessToken);
  return { kind: "user", id: sub, permissions, sessionId: sid };
}

/** What the tests of accounts do to one instance of the role, and read of its database. */
export function accountsOf(role: TestRole, of: Pick<TestRole, "client"> = role) {
  const auth = (subject: Subject = anonymous) => of.client(AuthService, { subject });
  const users = (subject: Subject = anonymous) => of.client(UserService, { subject });
  const gateway = of.client(AuthService, { role: "gateway" });
  return {
    auth,
    users,
    gateway,
    db: role.database<UserTables>(),

    createUser: async (email = `${newId()}@Example.com`): Promise<User> =>
      present((await users().createUser({ email, password: PASSWORD })).user),

    logIn: ({ email }: Pick<User, "email">, password = PASSWORD, headers: Record<string, string> = {}) =>
      auth().login({ email, password }, { headers }),

    async sessionIdsOf({ id }: Pick<User, "id">): Promise<string[]> {
      return (await auth(admin).listSessions({ userId: id })).sessions.map((session) => session.id);
    },

    /** The sessions that a watch names first. */
    async revokedSessions(): Promise<string[]> {
      for await (const { sessionIds } of gateway.watchRevocations({})) return sessionIds;
      return [];
    },
  };
}

/**
 * Does `work` in a transaction that commits only once `meanwhile` waits for a lock of it, or is done without; answers
 * what became of `meanwhile`.
 */
export async function overtaken<T>(
  db: Kysely<UserTables>,
  work: (trx: Transaction<UserTables>) => Promise<unknown>,
  meanwhile: () => Promise<T>,
  late: (trx: Transaction<UserTables>) => Promise<unknown> = () => Promise.resolve(),
): Promise<PromiseSettledResult<T>> {
  let outcome: Promise<PromiseSettledResult<T>[]> | undefined;
  await transaction(db, async (trx) => {
    await work(trx);
    let isDone = false;
    outcome = Promise.allSettled([meanwhile()]).finally(() => (isDone = true));
    await until(async () => isDone || (await waitsForLock(db)));
    await late(trx);
  });
  return present((await outcome)?.[0]);
}

async function waitsForLock(db: Kysely<UserTables>): Promise<boolean> {
  const { rows } = await sql`
    select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
  `.execute(db);
  return rows.length > 0;
}
