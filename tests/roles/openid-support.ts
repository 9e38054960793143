import { sql } from "kysely";
import { AuthService, MailTokenPurpose } from "#gen/commerce/user/v1/auth_pb.ts";
import type { Subject } from "../../src/platform/call.ts";
import { anonymous } from "../../src/platform/call.ts";
import { newId } from "../../src/platform/id.ts";
import userRole from "../../src/roles/user/index.ts";
import { parseOpenIdProviders } from "../../src/roles/user/openid-config.ts";
import type { Answer, ForgedProvider } from "../support/openid.ts";
import { CLIENT, REDIRECT_URL, startForgedProvider, startRealProvider } from "../support/openid.ts";
import { startTestRole } from "../support/role.ts";
import { PASSWORD, accountsOf } from "./auth-support.ts";

/** What a browser has once it is back: the token that it kept, and what the provider sent it back with. */
export type Back = Answer & { readonly loginToken: string };

/** Somebody new at a provider. */
export function newPerson(claims: Readonly<Record<string, unknown>> = {}) {
  const sub = newId();
  return { sub, email: `${sub}@People.example`, email_verified: true, ...claims };
}

type Person = ReturnType<typeof newPerson>;

/** The role with a real provider, a forged one, and one that is gone. */
export async function startWithProviders() {
  const [real, forged] = await Promise.all([startRealProvider(), startForgedProvider()]);
  const providers = {
    real: { label: "The real one", issuer: real.issuer, ...CLIENT },
    forged: { issuer: forged.issuer, ...CLIENT },
    gone: { issuer: "http://127.0.0.1:1", ...CLIENT },
  };
  const role = await startTestRole("user", userRole, {
    config: {
      OPENID_PROVIDERS: parseOpenIdProviders(JSON.stringify(providers)),
      OPENID_REDIRECT_URL: REDIRECT_URL,
    },
  });
  const accounts = accountsOf(role);
  const { auth, db } = accounts;

  const begin = (provider: string, more: { returnTo?: string; link?: boolean } = {}, subject: Subject = anonymous) =>
    auth(subject).startOpenIdLogin({ provider, ...more });
  const finish = (back: Back, headers: Record<string, string> = {}) => auth().finishOpenIdLogin(back, { headers });

  /** A login at the real provider, as far as the browser is back; with a subject one that is to be linked. */
  async function backFromReal(person: Person = newPerson(), subject?: Subject): Promise<Back> {
    real.people.set(person.sub, person);
    const { authorizationUrl, loginToken } = await begin("real", { link: subject !== undefined }, subject);
    return { loginToken, ...(await real.visit(authorizationUrl, person.sub)) };
  }

  /** The same at the forged one, which has one login at a time. */
  async function backFromForged(person: ForgedProvider["person"] = newPerson(), subject?: Subject): Promise<Back> {
    forged.person = person;
    const { authorizationUrl, loginToken } = await begin("forged", { link: subject !== undefined }, subject);
    return { loginToken, ...forged.visit(authorizationUrl) };
  }

  return {
    real,
    forged,
    role,
    accounts,
    begin,
    finish,
    backFromReal,
    backFromForged,
    logInAtForged: async (person: ForgedProvider["person"]) => finish(await backFromForged(person)),

    link: async (subject: Subject, back: Back, currentPassword = PASSWORD) =>
      auth(subject).linkOpenIdIdentity({ ...back, currentPassword }),

    /** The providers and emails of a user's logins. */
    async identitiesOf(subject: Subject) {
      const { identities } = await auth(subject).listExternalIdentities({});
      return identities.map(({ provider, email }) => [provider, email]);
    },

    /** Sets {@link PASSWORD} by a mail. */
    async resetPassword(userId: string): Promise<void> {
      const notification = role.client(AuthService, { role: "notification" });
      const { token } = await notification.getMailRecipient({ userId, purpose: MailTokenPurpose.PASSWORD_RESET });
      await auth().resetPassword({ token, newPassword: PASSWORD });
    },

    /** How much there is of all that a login leaves. */
    async traces(): Promise<unknown> {
      const { rows } = await sql`
        select (select count(*) from users) as users, (select count(*) from external_identities) as identities,
          (select count(*) from sessions) as sessions, (select count(*) from outbox) as events
      `.execute(db);
      return rows;
    },

    /** The events of a user, in order. */
    async eventsOf(userId: string): Promise<string[]> {
      const { rows } = await sql<{ type: string }>`
        select type from outbox where aggregate_id = ${userId} order by sequence
      `.execute(db);
      return rows.map(({ type }) => type);
    },

    async [Symbol.asyncDispose]() {
      await role[Symbol.asyncDispose]();
      await Promise.all([real, forged].map((provider) => provider[Symbol.asyncDispose]()));
    },
  };
}
