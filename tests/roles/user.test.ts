import { timestampDate } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { User } from "#gen/commerce/user/v1/user_pb.ts";
import { UserErrorReason, UserService, UserState } from "#gen/commerce/user/v1/user_pb.ts";
import type { Subject } from "../../src/platform/call.ts";
import { anonymous } from "../../src/platform/call.ts";
import { newId } from "../../src/platform/id.ts";
import { userErrors } from "../../src/roles/user/errors.ts";
import userRole from "../../src/roles/user/index.ts";
import type { UserTables } from "../../src/roles/user/schema.ts";
import type { TestCaller, TestRole } from "../support/role.ts";
import { present, refusal, replayNote, settled, startTestRole } from "../support/role.ts";

let role: TestRole;
let users: ReturnType<typeof clientOf>;
const admin: Subject = { kind: "user", id: newId(), permissions: ["user.read", "user.write"] };
const clientOf = (of: Pick<TestRole, "client">, caller: TestCaller = { subject: admin }) =>
  of.client(UserService, caller);

beforeAll(async () => {
  role = await startTestRole("user", userRole);
  users = clientOf(role);
});
afterAll(() => role[Symbol.asyncDispose]());

let count = 0;
const someEmail = () => `user${String((count += 1))}@example.com`;

async function createUser(email = someEmail(), displayName = ""): Promise<User> {
  return present((await users.createUser({ email, displayName })).user);
}

test("the role's errors are the reasons of its proto", () => {
  const reasons = Object.keys(UserErrorReason).filter((name) => name !== "UNSPECIFIED");
  expect(Object.keys(userErrors)).toEqual(reasons);
});

test("CreateUser answers the user as GetUser and the database have it", async () => {
  const email = "Ada.Lovelace@Example.com";
  const user = await createUser(email);
  expect(user).toMatchObject({ email, displayName: "Ada.Lovelace", state: UserState.ACTIVE, version: 1 });
  expect(timestampDate(present(user.createdAt))).toEqual(role.clock.now());
  expect(user.updatedAt).toEqual(user.createdAt);
  expect((await users.getUser({ id: user.id })).user).toEqual(user);
  expect((await users.getUser({ id: user.id.toUpperCase() })).user).toEqual(user);
});

test("CreateUser takes a display name, in any script", async () => {
  const user = await createUser(someEmail(), "Ærøskøbing 東京");
  expect(user.displayName).toBe("Ærøskøbing 東京");
});

test("CreateUser refuses an email that is taken, whatever its case, and names every faulty field", async () => {
  const { email } = await createUser();
  expect(await refusal(users.createUser({ email: email.toUpperCase() }))).toMatchObject({
    kind: "already_exists",
    reason: "EMAIL_TAKEN",
  });
  const faulty = await refusal(users.createUser({ email: "no email", displayName: "x".repeat(101) }));
  expect(faulty.reason).toBe("INVALID_REQUEST");
  expect(faulty.details.fields?.map(({ field }) => field)).toEqual(["email", "display_name"]);
});

test("of 20 CreateUser at once with one email, one succeeds", async () => {
  const calls = Array.from({ length: 20 }, (_, index) =>
    users.createUser({ email: index % 2 === 0 ? "race@example.com" : "RACE@example.com" }),
  );
  const { answers, reasons } = await settled(calls);
  expect(answers).toHaveLength(1);
  expect(new Set(reasons)).toEqual(new Set(["EMAIL_TAKEN"]));
  const rows = await role.database<UserTables>().selectFrom("users").select("email").execute();
  expect(rows.filter(({ email }) => email.toLowerCase() === "race@example.com")).toHaveLength(1);
});

test("a repeated key answers as the first call did, with a header; another body is refused", async () => {
  const request = { email: someEmail(), idempotencyKey: "create-1" };
  const [first, second] = [replayNote(), replayNote()];
  const created = await users.createUser(request, first.options);
  await users.updateUser({ id: present(created.user).id, displayName: "Changed since" });
  expect(await users.createUser(request, second.options)).toEqual(created);
  expect([first.replayed, second.replayed]).toEqual([null, "true"]);

  const other = await refusal(users.createUser({ ...request, email: someEmail() }));
  expect(other).toMatchObject({ kind: "failed_precondition", reason: "IDEMPOTENCY_KEY_REUSED" });
  await expect(users.createUser({ ...request, idempotencyKey: "not\nprintable" })).rejects.toMatchObject({
    error: { reason: "INVALID_REQUEST", details: { fields: [{ field: "idempotency_key" }] } },
  });
});

test("one key in 20 calls at once has one effect and one answer, in this process and in another", async () => {
  const replica = clientOf(await role.replica());
  const request = { email: someEmail(), idempotencyKey: "parallel" };
  const calls = Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? users : replica).createUser(request));
  const answers = await Promise.all(calls);
  for (const answer of answers) expect(answer).toEqual(answers[0]);
  const rows = await role
    .database<UserTables>()
    .selectFrom("users")
    .select("id")
    .where("email", "=", request.email)
    .execute();
  expect(rows).toHaveLength(1);
});

test("a refused call leaves its key free", async () => {
  const taken = await createUser();
  const request = { email: taken.email, idempotencyKey: "refused-first" };
  expect((await refusal(users.createUser(request))).reason).toBe("EMAIL_TAKEN");
  await users.updateUser({ id: taken.id, email: someEmail() });
  expect((await users.createUser(request)).user?.email).toBe(taken.email);
});

test("GetUser: absent, malformed, and who may read whom", async () => {
  const id = newId();
  const absent = await refusal(users.getUser({ id }));
  expect(absent).toMatchObject({ kind: "not_found", details: { resource: { type: "user", name: id } } });
  expect((await refusal(users.getUser({ id: "7" }))).details.fields?.[0]?.field).toBe("id");

  const [me, other] = [await createUser(), await createUser()];
  const asMe = clientOf(role, { subject: { kind: "user", id: me.id, permissions: [] } });
  const asClerk = clientOf(role, { subject: { kind: "user", id: me.id, permissions: ["user.read"] } });
  expect((await asMe.getUser({ id: me.id.toUpperCase() })).user).toEqual(me);
  const denied = await refusal(asMe.getUser({ id: other.id }));
  expect(denied).toMatchObject({ kind: "permission_denied", reason: "ACCESS_DENIED" });
  expect((await refusal(asMe.getUser({ id: newId() }))).message).toBe(denied.message);
  expect((await asClerk.getUser({ id: other.id })).user).toEqual(other);
  expect((await refusal(asClerk.updateUser({ id: other.id, displayName: "x" }))).reason).toBe("ACCESS_DENIED");
  expect((await refusal(asMe.deactivateUser({ id: other.id }))).reason).toBe("ACCESS_DENIED");
});

test("BatchGetUsers answers in the order asked for, each once, and names the absent", async () => {
  const [a, b, c] = [await createUser(), await createUser(), await createUser()];
  const absent = newId();
  const asRole = clientOf(role, { role: "order" });
  const answer = await asRole.batchGetUsers({ ids: [c.id, a.id.toUpperCase(), absent, c.id, b.id, a.id] });
  expect(answer.users).toEqual([c, a, b]);
  expect(answer.absentIds).toEqual([absent]);
  expect((await refusal(asRole.batchGetUsers({ ids: [] }))).details.fields?.[0]?.field).toBe("ids");
  expect((await refusal(clientOf(role).batchGetUsers({ ids: [a.id] }))).reason).toBe("ACCESS_DENIED");
});

test("ListUsers pages, newest first, without loss or duplicates while users are added", async () => {
  await using alone = await startTestRole("user", userRole);
  const client = clientOf(alone);
  const ids: string[] = [];
  const add = async (name: string) => ids.push(present((await client.createUser({ email: name })).user).id);
  for (let i = 0; i < 11; i += 1) await add(`page${String(i)}@example.com`);
  const before = [...ids].reverse();

  const seen: string[] = [];
  let pageToken = "";
  do {
    const page = await client.listUsers({ pageSize: 3, pageToken });
    expect(page.users.length).toBeLessThanOrEqual(3);
    seen.push(...page.users.map(({ id }) => id));
    pageToken = page.nextPageToken;
    await add(`late${String(seen.length)}@example.com`);
  } while (pageToken !== "");
  expect(seen).toEqual(before);

  // A last page that is full has no token.
  const all = await client.listUsers({ pageSize: ids.length });
  expect([all.users.length, all.nextPageToken]).toEqual([ids.length, ""]);
  expect((await client.listUsers({})).users).toHaveLength(ids.length);
});

test("ListUsers refuses the token of another query, a forged one, and a negative size", async () => {
  for (let i = 0; i < 3; i += 1) await createUser();
  const { nextPageToken } = await users.listUsers({ pageSize: 1 });
  const refusedField = async (request: Parameters<typeof users.listUsers>[0]) =>
    (await refusal(users.listUsers(request))).details.fields?.[0]?.field;
  expect(await refusedField({ pageToken: nextPageToken, prefix: "a" })).toBe("page_token");
  expect(await refusedField({ pageToken: `${nextPageToken}AAAA` })).toBe("page_token");
  expect(await refusedField({ pageToken: "%" })).toBe("page_token");
  expect(await refusedField({ pageSize: -1 })).toBe("page_size");
  // The size may change between pages.
  expect((await users.listUsers({ pageSize: 2, pageToken: nextPageToken })).users).toHaveLength(2);
});

test("ListUsers filters by state and by the beginning of email or name, without regard to case", async () => {
  const byName = await createUser(someEmail(), "Ñandú_50%");
  const byEmail = await createUser("nan%du@example.com", "other");
  const plain = await createUser("nanxdu@example.com", "Ñandúx50y");
  const idsOf = async (prefix: string) => (await users.listUsers({ prefix })).users.map(({ id }) => id);
  expect(await idsOf("ñANDÚ")).toEqual([plain.id, byName.id]);
  expect(await idsOf("ñandú_")).toEqual([byName.id]);
  expect(await idsOf("NAN%")).toEqual([byEmail.id]);
  expect(await idsOf("nan\\")).toEqual([]);
  expect(await idsOf("andú")).toEqual([]);

  await users.deactivateUser({ id: plain.id });
  const stateOf = async (state: UserState) =>
    (await users.listUsers({ prefix: "ñandú", state })).users.map(({ id }) => id);
  expect(await stateOf(UserState.DEACTIVATED)).toEqual([plain.id]);
  expect(await stateOf(UserState.ACTIVE)).toEqual([byName.id]);
});

test("UpdateUser changes what is present, and nothing where nothing is", async () => {
  const user = await createUser();
  role.clock.advance(1_500);
  const renamed = present((await users.updateUser({ id: user.id.toUpperCase(), displayName: "New" })).user);
  expect(renamed).toMatchObject({ id: user.id, email: user.email, displayName: "New", version: 2 });
  expect(renamed.createdAt).toEqual(user.createdAt);
  expect(timestampDate(present(renamed.updatedAt))).toEqual(role.clock.now());

  const email = someEmail();
  const moved = present((await users.updateUser({ id: user.id, email, expectedVersion: 2 })).user);
  expect(moved).toMatchObject({ email, displayName: "New", version: 3 });

  role.clock.advance(1_500);
  expect((await users.updateUser({ id: user.id })).user).toEqual(moved);
  expect((await users.updateUser({ id: user.id, expectedVersion: 3 })).user).toEqual(moved);
  expect((await refusal(users.updateUser({ id: user.id, expectedVersion: 2 }))).reason).toBe("VERSION_MISMATCH");
  expect((await users.getUser({ id: user.id })).user).toEqual(moved);
  // One's own email in another case is not taken.
  expect((await users.updateUser({ id: user.id, email: email.toUpperCase() })).user?.email).toBe(email.toUpperCase());
});

test("UpdateUser refuses a stale version, an absent user, a taken email", async () => {
  const [user, other] = [await createUser(), await createUser()];
  await users.updateUser({ id: user.id, displayName: "v2" });
  expect(await refusal(users.updateUser({ id: user.id, displayName: "x", expectedVersion: 1 }))).toMatchObject({
    kind: "aborted",
    reason: "VERSION_MISMATCH",
    details: { metadata: { current_version: "2" } },
  });
  expect((await refusal(users.updateUser({ id: newId(), displayName: "x" }))).reason).toBe("NOT_FOUND");
  expect((await refusal(users.updateUser({ id: newId() }))).reason).toBe("NOT_FOUND");
  expect((await refusal(users.updateUser({ id: user.id, email: other.email }))).reason).toBe("EMAIL_TAKEN");
});

test("of 10 UpdateUser at once with one expected_version, one succeeds", async () => {
  const user = await createUser();
  const calls = Array.from({ length: 10 }, (_, index) =>
    users.updateUser({ id: user.id, displayName: `name ${String(index)}`, expectedVersion: 1 }),
  );
  const { answers, reasons } = await settled(calls);
  expect(answers).toHaveLength(1);
  expect(new Set(reasons)).toEqual(new Set(["VERSION_MISMATCH"]));
  expect((await users.getUser({ id: user.id })).user).toEqual(answers[0]?.user);
});

test("DeactivateUser and ReactivateUser: once is a change, twice is none", async () => {
  const user = await createUser();
  role.clock.advance(10);
  const request = { id: user.id.toUpperCase(), expectedVersion: 1 };
  const deactivated = present((await users.deactivateUser(request)).user);
  expect(deactivated).toMatchObject({ id: user.id, state: UserState.DEACTIVATED, version: 2 });
  role.clock.advance(10);
  expect((await users.deactivateUser(request)).user).toEqual(deactivated);
  expect((await users.getUser({ id: user.id })).user).toEqual(deactivated);
  expect((await refusal(users.createUser({ email: user.email }))).reason).toBe("EMAIL_TAKEN");

  const stale = await refusal(users.reactivateUser({ id: user.id, expectedVersion: 1 }));
  expect(stale.details.metadata).toEqual({ current_version: "2" });
  const reactivated = present((await users.reactivateUser({ id: user.id })).user);
  expect(reactivated).toMatchObject({ state: UserState.ACTIVE, version: 3 });
  expect((await users.reactivateUser({ id: user.id })).user).toEqual(reactivated);
  expect((await refusal(users.deactivateUser({ id: newId() }))).reason).toBe("NOT_FOUND");
  expect((await refusal(users.reactivateUser({ id: newId() }))).reason).toBe("NOT_FOUND");
});

test("10 DeactivateUser at once are one change", async () => {
  const { id } = await createUser();
  const answers = await Promise.all(Array.from({ length: 10 }, () => users.deactivateUser({ id })));
  expect(answers.map(({ user }) => user?.version)).toEqual(Array.from({ length: 10 }, () => 2));
});

test("of 10 DeactivateUser and ReactivateUser at once each answers a state that was", async () => {
  const user = await createUser();
  const calls = Array.from({ length: 10 }, (_, index) =>
    index % 2 === 0 ? users.deactivateUser({ id: user.id }) : users.reactivateUser({ id: user.id }),
  );
  for (const [index, { user: answered }] of (await Promise.all(calls)).entries()) {
    expect(answered?.state).toBe(index % 2 === 0 ? UserState.DEACTIVATED : UserState.ACTIVE);
  }
});

test("the keys of changes are the caller's: equal keys of two users do not meet", async () => {
  const [a, b] = [await createUser(), await createUser()];
  const as = ({ id }: User) => clientOf(role, { subject: { kind: "user", id, permissions: [] } });
  const note = replayNote();
  await as(a).updateUser({ id: a.id, displayName: "A", idempotencyKey: "same" });
  const other = await as(b).updateUser({ id: b.id, displayName: "B", idempotencyKey: "same" });
  expect(other.user?.displayName).toBe("B");
  const again = await as(a).updateUser({ id: a.id, displayName: "A", idempotencyKey: "same" }, note.options);
  expect([again.user?.version, note.replayed]).toEqual([2, "true"]);
  const reused = await refusal(as(a).updateUser({ id: a.id, displayName: "Z", idempotencyKey: "same" }));
  expect(reused.reason).toBe("IDEMPOTENCY_KEY_REUSED");

  for (const change of [users.deactivateUser, users.reactivateUser]) {
    const first = await change({ id: a.id, idempotencyKey: "state" });
    const replay = replayNote();
    expect(await change({ id: a.id, idempotencyKey: "state" }, replay.options)).toEqual(first);
    expect(replay.replayed).toBe("true");
  }
});

test("anybody may create a user; nobody may read or change one without a token", async () => {
  const nobody = clientOf(role, { subject: anonymous });
  const { user } = await nobody.createUser({ email: someEmail() });
  const id = present(user).id;
  const { reasons } = await settled<unknown>([
    nobody.getUser({ id }),
    nobody.listUsers({}),
    nobody.updateUser({ id, displayName: "x" }),
    nobody.deactivateUser({ id }),
    nobody.getProfile({}),
    nobody.addAddress({ address: home }),
  ]);
  expect(reasons).toEqual(Array.from({ length: 6 }, () => "TOKEN_MISSING"));
});

const home = {
  name: "Ada",
  lines: ["Main Street 1", "Backyard"],
  city: "Berlin",
  region: "",
  postalCode: "10115",
  countryCode: "DE",
  phone: "",
};

async function someShopper() {
  const user = await createUser();
  return { user, client: clientOf(role, { subject: { kind: "user", id: user.id, permissions: [] } }) };
}

test("UpdateProfile changes the caller as UpdateUser would; GetProfile reads it", async () => {
  const { user, client } = await someShopper();
  const request = { displayName: "Ada", expectedVersion: 1, idempotencyKey: "profile" };
  const [first, note] = [await client.updateProfile(request), replayNote()];
  expect(first.user).toMatchObject({ id: user.id, email: user.email, displayName: "Ada", version: 2 });
  expect(await client.updateProfile(request, note.options)).toEqual(first);
  expect(note.replayed).toBe("true");
  expect(await client.getProfile({})).toMatchObject({ user: present(first.user), permissions: [], addresses: [] });
  expect((await refusal(client.updateProfile({ displayName: "B", expectedVersion: 1 }))).reason).toBe(
    "VERSION_MISMATCH",
  );
  const { email } = await createUser();
  expect((await refusal(client.updateProfile({ email }))).reason).toBe("EMAIL_TAKEN");
});

test("an address book holds what its owner enters, and nobody else reads or changes it", async () => {
  const [{ client }, { client: stranger }] = [await someShopper(), await someShopper()];
  const note = replayNote();
  const first = await client.addAddress({ address: home, idempotencyKey: "home" });
  expect(await client.addAddress({ address: home, idempotencyKey: "home" }, note.options)).toEqual(first);
  expect(note.replayed).toBe("true");
  const entry = present(first.entry);
  const second = present((await client.addAddress({ address: { ...home, city: "Bonn" } })).entry);
  expect((await client.getProfile({})).addresses).toEqual([entry, second]);
  expect(entry.address).toMatchObject(home);

  const moved = await client.updateAddress({ id: entry.id.toUpperCase(), address: { ...home, phone: "1" } });
  expect(moved.entry).toMatchObject({ id: entry.id, address: { ...home, phone: "1" } });
  const foreign = await refusal(stranger.updateAddress({ id: entry.id, address: home }));
  const absent = await refusal(stranger.updateAddress({ id: newId(), address: home }));
  expect(foreign).toMatchObject({ kind: "permission_denied", reason: "ACCESS_DENIED" });
  expect([absent.reason, absent.message, absent.details]).toEqual([foreign.reason, foreign.message, foreign.details]);
  await stranger.removeAddress({ id: entry.id });
  expect((await client.getProfile({})).addresses.map(({ id }) => id)).toEqual([entry.id, second.id]);

  await client.removeAddress({ id: entry.id });
  await client.removeAddress({ id: entry.id });
  expect((await client.getProfile({})).addresses).toEqual([second]);
  const faulty = await refusal(client.addAddress({ address: { ...home, countryCode: "de", lines: [] } }));
  expect(faulty.details.fields?.map(({ field }) => field)).toEqual(["address.lines", "address.country_code"]);
  expect((await refusal(client.addAddress({}))).details.fields?.map(({ field }) => field)).toEqual(["address"]);
});

test("of 60 AddAddress at once 50 find room", async () => {
  const { client } = await someShopper();
  const { answers, reasons } = await settled(Array.from({ length: 60 }, () => client.addAddress({ address: home })));
  expect(answers).toHaveLength(50);
  expect(new Set(reasons)).toEqual(new Set(["ADDRESS_BOOK_FULL"]));
  expect((await client.getProfile({})).addresses).toHaveLength(50);
  await client.removeAddress({ id: present(answers[0]?.entry).id });
  await client.addAddress({ address: home });
});
