import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UserState } from "#gen/commerce/user/v1/user_pb.ts";
import { newId } from "../../src/platform/id.ts";
import type { RawRequest } from "../../src/platform/raw-routes.ts";
import userRole from "../../src/roles/user/index.ts";
import { parseOpenIdProviders } from "../../src/roles/user/openid-config.ts";
import { browserPath, openBrowser } from "../support/browser.ts";
import { CLIENT, REDIRECT_URL } from "../support/openid.ts";
import { present, refusal, settled, startTestRole } from "../support/role.ts";
import { accountsOf, overtaken, subjectOf } from "./auth-support.ts";
import type { Back } from "./openid-support.ts";
import { newPerson, startWithProviders } from "./openid-support.ts";

let shop: Awaited<ReturnType<typeof startWithProviders>>;
beforeAll(async () => {
  shop = await startWithProviders();
});
afterAll(() => shop[Symbol.asyncDispose]());

test("the first login makes an account without a password, the next ones open it", async () => {
  const person = newPerson({ name: " Ada\u0007 Lovelace " });
  const { providers } = await shop.accounts.auth().listLoginProviders({});
  expect(providers.map(({ name, label }) => [name, label])).toEqual([
    ["real", "The real one"],
    ["forged", "forged"],
    ["gone", "gone"],
  ]);
  const first = await shop.finish(await shop.backFromReal(person), { "x-client-agent": "a browser" });
  const user = present(first.user);
  expect(user).toMatchObject({ email: person.email, displayName: "Ada Lovelace", emailConfirmed: true, roles: [] });
  expect(user.state).toBe(UserState.ACTIVE);
  const { sessions } = await shop.accounts.auth(subjectOf(first)).listSessions({});
  expect(sessions).toMatchObject([{ client: "a browser", current: true }]);
  expect(subjectOf(await shop.accounts.auth().refresh({ refreshToken: first.refreshToken }))).toEqual(subjectOf(first));
  expect(await shop.eventsOf(user.id)).toEqual(["user.created"]);

  // Another name and email there change nothing here: the subject says who it is.
  const again = await shop.finish(
    await shop.backFromReal({ ...person, email: "other@people.example", email_verified: false }),
  );
  expect(again.user).toEqual(user);
  expect(subjectOf(again).sessionId).not.toBe(subjectOf(first).sessionId);
  expect(await shop.identitiesOf(subjectOf(again))).toEqual([["real", person.email]]);
});

test("what the browser is sent with: a challenge, and nothing of the secrets", async () => {
  const { authorizationUrl, loginToken } = await shop.begin("real", { returnTo: "/checkout?step=2" });
  const { origin, searchParams } = new URL(authorizationUrl);
  expect(origin).toBe(shop.real.issuer);
  const { state, nonce, code_challenge: challenge, ...others } = Object.fromEntries(searchParams);
  expect(others).toEqual({
    client_id: CLIENT.client_id,
    redirect_uri: REDIRECT_URL,
    response_type: "code",
    scope: "openid email profile",
    code_challenge_method: "S256",
  });
  expect(new Set([state, nonce, challenge].map((value) => value?.length))).toEqual(new Set([43]));
  expect(Buffer.from(loginToken, "base64url").toString("latin1")).not.toContain(state);
  const other = new URL((await shop.begin("real")).authorizationUrl).searchParams;
  expect(["state", "nonce", "code_challenge"].filter((name) => other.get(name) === searchParams.get(name))).toEqual([]);
});

test("the path to go on at comes back; one that leads elsewhere is refused, as is a provider that there is not", async () => {
  shop.forged.person = newPerson();
  const { authorizationUrl, loginToken } = await shop.begin("forged", { returnTo: "/checkout?step=2" });
  expect((await shop.finish({ ...shop.forged.visit(authorizationUrl), loginToken })).returnTo).toBe("/checkout?step=2");
  const elsewhere = [
    "//evil.example",
    "/\\evil.example",
    "https://evil.example",
    "/\t/evil.example",
    "evil",
    "javascript:x",
  ];
  for (const returnTo of elsewhere) {
    const { details } = await refusal(shop.begin("forged", { returnTo }));
    expect(details.fields?.map(({ field }) => field)).toEqual(["return_to"]);
  }
  expect((await refusal(shop.begin("no-such"))).details.fields?.map(({ field }) => field)).toEqual(["provider"]);
});

test("an email that the provider does not vouch for makes no account", async () => {
  const claims = [
    { email_verified: false },
    { email_verified: undefined },
    { email_verified: 1 },
    { email: "no email" },
    { email: undefined },
  ];
  for (const unverified of claims) {
    const { kind, reason } = await refusal(shop.logInAtForged(newPerson(unverified)));
    expect({ kind, reason }).toEqual({ kind: "failed_precondition", reason: "EMAIL_UNVERIFIED" });
  }
  expect((await shop.logInAtForged(newPerson({ email_verified: "true" }))).user?.emailConfirmed).toBe(true);
});

test("the same subject at two providers is two people", async () => {
  const person = newPerson();
  const atReal = await shop.finish(await shop.backFromReal(person));
  const atForged = await shop.logInAtForged({ ...person, email: `forged.${person.email}` });
  expect(atForged.user?.id).not.toBe(atReal.user?.id);
});

test("an account that has the email is not linked silently, but by who is logged in to it", async () => {
  const user = await shop.accounts.createUser();
  const person = newPerson({ email: user.email.toUpperCase() });
  const { kind, reason } = await refusal(shop.finish(await shop.backFromReal(person)));
  expect({ kind, reason }).toEqual({ kind: "failed_precondition", reason: "LOGIN_LINK_REQUIRED" });
  const subject = subjectOf(await shop.accounts.logIn(user));
  expect(await shop.identitiesOf(subject)).toEqual([]);

  const wrong = await refusal(shop.link(subject, await shop.backFromReal(person, subject), "another password"));
  expect(wrong.reason).toBe("CREDENTIALS_INVALID");
  const { identity } = await shop.link(subject, await shop.backFromReal(person, subject));
  expect(identity).toMatchObject({ provider: "real", issuer: shop.real.issuer, email: person.email });
  expect((await shop.finish(await shop.backFromReal(person))).user).toMatchObject({
    id: user.id,
    emailConfirmed: false,
  });
  // Once more changes nothing; another of the provider, or to another account, is refused.
  expect((await shop.link(subject, await shop.backFromReal(person, subject))).identity).toEqual(identity);
  expect((await refusal(shop.link(subject, await shop.backFromReal(newPerson(), subject)))).reason).toBe(
    "IDENTITY_TAKEN",
  );
  expect(await shop.eventsOf(user.id)).toEqual(["user.created", "user.login_added"]);
  const other = subjectOf(await shop.accounts.logIn(await shop.accounts.createUser()));
  expect((await refusal(shop.link(other, await shop.backFromReal(person, other)))).reason).toBe("IDENTITY_TAKEN");
});

test("what one user began to link no other links, and nobody logs in by it; nor the other way round", async () => {
  const [subject, other] = [
    subjectOf(await shop.accounts.logIn(await shop.accounts.createUser())),
    subjectOf(await shop.accounts.logIn(await shop.accounts.createUser())),
  ];
  const back = await shop.backFromForged(newPerson(), subject);
  const refused = [
    () => shop.link(other, back),
    () => shop.finish(back),
    async () => shop.link(subject, await shop.backFromForged()),
  ];
  for (const attempt of refused) expect((await refusal(attempt())).reason).toBe("OPENID_LOGIN_INVALID");
  expect((await refusal(shop.begin("forged", { link: true }))).reason).toBe("TOKEN_MISSING");
  expect(await shop.identitiesOf(subject)).toEqual([]);
});

test("whoever has but a login at a provider keeps one, and has no password to guess", async () => {
  const person = newPerson();
  const login = await shop.logInAtForged(person);
  const subject = subjectOf(login);
  const wrong = await refusal(shop.accounts.logIn(person, "any password"));
  expect([wrong.kind, wrong.reason]).toEqual(["unauthenticated", "CREDENTIALS_INVALID"]);
  // A stolen session leads neither to another mailbox nor to another login.
  const moved = shop.accounts.users(subject).updateProfile({ email: "thief@example.com", currentPassword: "any" });
  expect((await refusal(moved)).reason).toBe("CREDENTIALS_INVALID");
  expect((await refusal(shop.link(subject, await shop.backFromReal(newPerson(), subject), ""))).reason).toBe(
    "CREDENTIALS_INVALID",
  );

  const { identities } = await shop.accounts.auth(subject).listExternalIdentities({});
  const id = present(identities[0]).id;
  const stranger = subjectOf(await shop.accounts.logIn(await shop.accounts.createUser()));
  await shop.accounts.auth(stranger).unlinkExternalIdentity({ id });
  const last = await refusal(shop.accounts.auth(subject).unlinkExternalIdentity({ id }));
  expect([last.kind, last.reason]).toEqual(["failed_precondition", "LAST_LOGIN"]);
  expect(await shop.identitiesOf(subject)).toEqual([["forged", person.email]]);
});

test("a password set by mail is a login of its own: the provider's stays where it is of the same email, and can go", async () => {
  const person = newPerson();
  const { id: userId } = present((await shop.logInAtForged(person)).user);
  await shop.resetPassword(userId);
  const [here, elsewhere] = [await shop.accounts.logIn(person), await shop.logInAtForged(person)];
  const subject = subjectOf(here);
  expect(elsewhere.user?.id).toBe(userId);
  const { identities } = await shop.accounts.auth(subject).listExternalIdentities({});
  const unlinked = { id: present(identities[0]).id };
  await shop.accounts.auth(subject).unlinkExternalIdentity(unlinked);
  await shop.accounts.auth(subject).unlinkExternalIdentity(unlinked);
  expect(await shop.accounts.sessionIdsOf({ id: userId })).toEqual([subject.sessionId]);
  expect((await refusal(shop.logInAtForged(person))).reason).toBe("LOGIN_LINK_REQUIRED");
});

test("who took an email before its owner came loses the login that was left in the account", async () => {
  const user = await shop.accounts.createUser();
  const subject = subjectOf(await shop.accounts.logIn(user));
  const [thief, owner] = [newPerson(), newPerson({ email: user.email.toUpperCase() })];
  await shop.link(subject, await shop.backFromForged(thief, subject));
  await shop.link(subject, await shop.backFromReal(owner, subject));
  await shop.resetPassword(user.id);
  expect(await shop.identitiesOf(subject)).toEqual([["real", owner.email]]);
  expect((await shop.logInAtForged(thief)).user?.id).not.toBe(user.id);
});

test("a user who is deactivated is refused, also in the middle of a login", async () => {
  const person = newPerson();
  const { id } = present((await shop.logInAtForged(person)).user);
  const back = await shop.backFromForged(person);
  const outcome = await overtaken(
    shop.accounts.db,
    (trx) => trx.updateTable("users").set({ state: "deactivated" }).where("id", "=", id).execute(),
    () => shop.finish(back),
  );
  expect(outcome).toMatchObject({ status: "rejected", reason: { error: { reason: "OPENID_LOGIN_INVALID" } } });
  expect((await refusal(shop.logInAtForged(person))).reason).toBe("OPENID_LOGIN_INVALID");
});

test("a login that is unlinked meanwhile opens nothing, and a password that changed links nothing", async () => {
  const user = await shop.accounts.createUser();
  const subject = subjectOf(await shop.accounts.logIn(user));
  const person = newPerson();
  const { identity } = await shop.link(subject, await shop.backFromForged(person, subject));
  const back = await shop.backFromForged(person);
  const login = await overtaken(
    shop.accounts.db,
    async (trx) => {
      await trx.selectFrom("users").select("id").where("id", "=", user.id).forUpdate().execute();
      await trx.deleteFrom("external_identities").where("id", "=", present(identity).id).execute();
    },
    () => shop.finish(back),
  );
  expect(login).toMatchObject({ status: "rejected", reason: { error: { reason: "OPENID_LOGIN_INVALID" } } });

  const linking = await shop.backFromForged(person, subject);
  const linked = await overtaken(
    shop.accounts.db,
    async (trx) => {
      await trx.selectFrom("users").select("id").where("id", "=", user.id).forUpdate().execute();
      await trx.updateTable("credentials").set({ version: 2 }).where("user_id", "=", user.id).execute();
    },
    () => shop.link(subject, linking),
  );
  expect(linked).toMatchObject({ status: "rejected", reason: { error: { reason: "CREDENTIALS_INVALID" } } });
});

test("first logins of somebody at once make one account", async () => {
  const person = newPerson();
  shop.real.people.set(person.sub, person);
  const backs: Back[] = [];
  for (let count = 0; count < 5; count += 1) backs.push(await shop.backFromReal(person));
  const { answers, reasons } = await settled(backs.map((back) => shop.finish(back)));
  expect(reasons).toEqual([]);
  expect(new Set(answers.map(({ user }) => user?.id)).size).toBe(1);
});

test("first logins of two people with one email at once: one has it, the other is told", async () => {
  const email = `${newId()}@example.com`;
  const backs = [await shop.backFromReal(newPerson({ email })), await shop.backFromForged(newPerson({ email }))];
  const { answers, reasons } = await settled(backs.map((back) => shop.finish(back)));
  expect([answers.length, reasons]).toEqual([1, ["LOGIN_LINK_REQUIRED"]]);
});

test.skipIf(browserPath === undefined)(
  "the shop's own page shows what came, and takes it out of the address",
  async () => {
    const providers = { forged: { issuer: shop.forged.issuer, ...CLIENT } };
    const config = { OPENID_PROVIDERS: parseOpenIdProviders(JSON.stringify(providers)) };
    await using role = await startTestRole("user", userRole, { config });
    const { authorizationUrl } = await accountsOf(role).auth().startOpenIdLogin({ provider: "forged" });
    const redirectUrl = new URL(authorizationUrl).searchParams.get("redirect_uri") ?? "";
    expect(redirectUrl).toBe("http://shop.test/-/user/openid/callback");
    const route = present(role.running.routes?.find(({ path }) => redirectUrl.endsWith(`/-/user${path}`)));
    const { body = "", ...answer } = await route.handle(undefined as unknown as RawRequest);

    const browser = await openBrowser(browserPath ?? "");
    const page = await browser.newPage();
    await page.route("http://shop.test/**", (request) => request.fulfill({ ...answer, body: String(body) }));
    await page.goto(`${redirectUrl}?code=a+code&state=s&other=%3Cb%3E&iss=${encodeURIComponent("<b>")}`);
    expect(JSON.parse(await page.locator("pre").innerText())).toEqual({ code: "a code", state: "s", iss: "<b>" });
    expect(page.url()).toBe(redirectUrl);
    await browser.close();
  },
);

test("what talks to providers is not loaded before somebody logs in at one", async () => {
  const hook =
    'import { registerHooks } from "node:module"; registerHooks({ resolve: (name, context, next) => (console.log(name), next(name, context)) })';
  const load = async (code: string) => {
    const hooked = ["--import", `data:text/javascript,${encodeURIComponent(hook)}`, "--input-type=module", "-e", code];
    return (await promisify(execFile)(process.execPath, hooked)).stdout.split("\n");
  };
  expect(await load('await import("./src/roles/user/index.ts")')).not.toContain("openid-client");
  expect(await load('await import("openid-client")')).toContain("openid-client");
});
