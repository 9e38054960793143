import { decodeProtectedHeader } from "jose";
import { pino } from "pino";
import { expect, test } from "vitest";
import { transaction } from "../../src/platform/database.ts";
import { newId } from "../../src/platform/id.ts";
import userRole from "../../src/roles/user/index.ts";
import { keepSigningKeys } from "../../src/roles/user/keep-signing-keys.ts";
import { OVERLAP_MS, PUBLISHED_BEFORE_MS, SIGNS_MS, newKeyPair, seal } from "../../src/roles/user/signing-key.ts";
import { endSessions } from "../../src/roles/user/store-sessions.ts";
import { insertSigningKey, lockSigningKeys } from "../../src/roles/user/store-signing-keys.ts";
import { until } from "../support/conditions.ts";
import { refusal, startTestRole } from "../support/role.ts";
import { DAY_MS, MINUTE_MS, accountsOf, admin, overtaken, subjectOf } from "./auth-support.ts";

type Accounts = ReturnType<typeof accountsOf>;

/** What follows says what the gateway needs: keys to verify with, and the sessions that have ended. */
async function startRole() {
  const role = await startTestRole("user", userRole);
  const replica = await role.replica();
  return {
    role,
    accounts: accountsOf(role),
    replica: accountsOf(role, replica),
    [Symbol.asyncDispose]: () => role[Symbol.asyncDispose](),
  };
}

test("signing keys follow one another without a gap, each known before it signs and after", async () => {
  await using started = await startRole();
  const { role, accounts, replica } = started;
  const user = await accounts.createUser();
  const kidOf = async (by: Accounts) => decodeProtectedHeader((await by.logIn(user)).accessToken).kid;
  const published = async () => (await accounts.gateway.listSigningKeys({})).keys.map(({ id }) => id);
  // All need one at once.
  const more = await Promise.all(Array.from({ length: 6 }, async () => accountsOf(role, await role.replica())));
  await Promise.all([accounts, replica, ...more].map(({ gateway }) => gateway.listSigningKeys({})));
  const [first, ...others] = await published();
  expect(others).toEqual([]);
  expect(await Promise.all([kidOf(accounts), kidOf(replica)])).toEqual([first, first]);

  role.clock.advance(SIGNS_MS - DAY_MS);
  const [, second] = await published();
  expect(second).toBeDefined();
  expect(await kidOf(replica)).toBe(first);
  role.clock.advance(DAY_MS - 1);
  expect(await kidOf(accounts)).toBe(first);
  role.clock.advance(1);
  expect(await Promise.all([kidOf(accounts), kidOf(replica)])).toEqual([second, second]);
  role.clock.advance(OVERLAP_MS);
  expect(await published()).toEqual([first, second]);
  role.clock.advance(PUBLISHED_BEFORE_MS);
  expect(await published()).toEqual([second]);

  const stored = await accounts.db.selectFrom("signing_keys").select("private_key").execute();
  const pkcs8 = Buffer.from("302e020100300506032b6570", "hex");
  expect(stored.filter(({ private_key }) => private_key.includes(pkcs8))).toEqual([]);
});

test("a process that needs a key while another makes one waits for it", async () => {
  await using started = await startRole();
  const { clock } = started.role;
  const { db } = started.accounts;
  const secret = Buffer.alloc(32, 1);
  const ring = keepSigningKeys({ db, clock, secret, log: pino({ level: "silent" }) });
  const { publicKey, privateKey } = newKeyPair();
  const [id, now] = [newId(), clock.now()];
  const row = {
    id,
    public_key: publicKey,
    private_key: seal(privateKey, id, secret),
    created_at: now,
    signs_from: now,
    signs_until: new Date(now.getTime() + SIGNS_MS),
    valid_until: new Date(now.getTime() + SIGNS_MS + DAY_MS),
  };
  const signer = await overtaken(
    db,
    async (trx) => {
      await lockSigningKeys(trx);
      await insertSigningKey(trx, row, now);
    },
    () => ring.signer(),
  );
  expect(signer).toMatchObject({ status: "fulfilled", value: { id } });
  expect((await ring.published()).map((key) => key.id)).toEqual([id]);
});

test("a key that was sealed with another secret verifies on, and another one signs", async () => {
  await using started = await startRole();
  const { role, accounts } = started;
  const user = await accounts.createUser();
  const kid = async () => decodeProtectedHeader((await accounts.logIn(user)).accessToken).kid;
  const first = await kid();
  await accounts.db
    .updateTable("signing_keys")
    .set({ private_key: Buffer.alloc(100) })
    .execute();
  role.clock.advance(MINUTE_MS);
  const second = await kid();
  expect(second).not.toBe(first);
  expect((await accounts.gateway.listSigningKeys({})).keys.map(({ id }) => id)).toEqual([first, second]);
});

/** Follows a watch in the background. */
function follow({ gateway }: Accounts, afterPosition = 0n) {
  const seen = { sessionIds: [] as string[], positions: [] as bigint[], at: [] as number[] };
  const stop = new AbortController();
  const done = (async () => {
    for await (const message of gateway.watchRevocations({ afterPosition }, { signal: stop.signal })) {
      seen.sessionIds.push(...message.sessionIds);
      seen.positions.push(message.position);
      seen.at.push(performance.now());
    }
  })();
  done.catch(() => undefined);
  return {
    seen,
    done,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await done.catch(() => undefined);
    },
  };
}

test("WatchRevocations tells what has ended and what ends, each session once, over a cut too", async () => {
  await using started = await startRole();
  const { accounts, replica } = started;
  const user = await accounts.createUser();
  const subjects: ReturnType<typeof subjectOf>[] = [];
  for (let index = 0; index < 12; index += 1) subjects.push(subjectOf(await accounts.logIn(user)));
  const ids = subjects.map(({ sessionId }) => sessionId);
  const logOut = (from: number, to: number) =>
    Promise.all(
      subjects.slice(from, to).map((subject, index) => (index % 2 === 0 ? accounts : replica).auth(subject).logout({})),
    );

  await logOut(0, 1);
  await using whole = follow(accounts);
  let position = 0n;
  {
    await using cut = follow(replica);
    await logOut(1, 6);
    await until(() => cut.seen.sessionIds.length === 6);
    expect(new Set(cut.seen.sessionIds)).toEqual(new Set(ids.slice(0, 6)));
    position = cut.seen.positions.at(-1) ?? 0n;
  }
  await logOut(6, 12);
  await using resumed = follow(replica, position);
  await until(() => resumed.seen.sessionIds.length === 6 && whole.seen.sessionIds.length === 12);
  expect(new Set(resumed.seen.sessionIds)).toEqual(new Set(ids.slice(6)));
  expect(new Set(whole.seen.sessionIds)).toEqual(new Set(ids));
  // One that was never given out is of a database that was put back.
  await using lost = follow(accounts, 1_000_000n);
  await until(() => lost.seen.sessionIds.length === 12);
});

test("WatchRevocations misses no session whose transaction commits after one that began later", async () => {
  await using started = await startRole();
  const { role, accounts } = started;
  const user = await accounts.createUser();
  const [slow, fast] = [subjectOf(await accounts.logIn(user)), subjectOf(await accounts.logIn(user))];
  await using watch = follow(accounts);
  const commit = Promise.withResolvers<undefined>();
  const numbered = Promise.withResolvers<undefined>();
  const slowly = transaction(accounts.db, async (trx) => {
    await endSessions(trx, { userId: user.id, only: slow.sessionId }, role.clock.now());
    numbered.resolve(undefined);
    await commit.promise;
  });
  await numbered.promise;
  const quickly = accounts.auth(fast).logout({});
  // Time for the second to commit, and for a look that would take its position for the last one.
  const looks = watch.seen.positions.length;
  await until(() => watch.seen.positions.length >= looks + 2);
  commit.resolve(undefined);
  await Promise.all([slowly, quickly]);
  await until(() => watch.seen.sessionIds.includes(fast.sessionId));
  expect(watch.seen.sessionIds).toEqual([slow.sessionId, fast.sessionId]);
});

test("WatchRevocations gives a sign of life each second, tells an end at once, and ends with the process", async () => {
  await using started = await startRole();
  const { role, accounts } = started;
  const subject = subjectOf(await accounts.logIn(await accounts.createUser()));
  await using watch = follow(accounts);
  await until(() => watch.seen.positions.length >= 5);
  const gaps = watch.seen.at.slice(1).map((at, index) => at - (watch.seen.at[index] ?? 0));
  expect(Math.max(...gaps)).toBeLessThan(1_000);
  await accounts.auth(subject).logout({});
  await until(() => watch.seen.sessionIds.length === 1);
  role.stop();
  await watch.done;
});

test("keys and revocations are for the gateway, and for no client", async () => {
  await using started = await startRole();
  for (const subject of [undefined, admin]) {
    const client = started.accounts.auth(subject);
    expect((await refusal(client.listSigningKeys({}))).reason).toBe("ACCESS_DENIED");
    const first = client.watchRevocations({})[Symbol.asyncIterator]().next();
    expect((await refusal(first)).reason).toBe("ACCESS_DENIED");
  }
});
