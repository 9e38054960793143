import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import type { Call } from "./call.ts";
import { subjectKey } from "./call.ts";
import { codeOf, isConnectionLost } from "./database-errors.ts";
import { transaction } from "./database.ts";
import { requestDigest } from "./digest.ts";
import { errors } from "./errors.ts";

/** The table that each role's first migration makes; see `migrations/<role>`. */
export interface IdempotencyKeys {
  scope: string;
  method: string;
  key: string;
  request_hash: Buffer;
  response: Buffer;
  created_at: Date;
}

/** A database with the table of keys. */
export interface WithIdempotencyKeys {
  idempotency_keys: IdempotencyKeys;
}

/** Days that a key is remembered. */
export const KEPT_DAYS = 7;

/** What a keyed call claims: one effect per scope, method and key. */
export interface Claim {
  /** The subject; without one, the user that the request names. */
  readonly scope: string;
  readonly method: string;
  readonly key: string;
  /** Digest of the request without its key and its wait. */
  readonly hash: Buffer;
}

export interface ClaimOptions {
  /** The scope of a caller without identity: the user that the request names; empty where it names none. */
  readonly scope?: string;
  /** Local names of the fields that do not count, beside `idempotencyKey`. */
  readonly omit?: readonly string[];
  /** The method whose keys these are, where several methods share one space of keys; the call's own else. */
  readonly method?: string;
}

/** The claim of a request; undefined where it has no key. */
export function claimOf<D extends DescMessage>(
  call: Call,
  schema: D,
  request: MessageShape<D> & { readonly idempotencyKey: string },
  options: ClaimOptions = {},
): Claim | undefined {
  if (request.idempotencyKey === "") return undefined;
  return {
    scope: subjectKey(call.subject) || (options.scope ?? ""),
    method: options.method ?? call.method.name,
    key: request.idempotencyKey,
    hash: requestDigest(schema, request, ["idempotencyKey", ...(options.omit ?? [])]),
  };
}

/** What a claimed call answers. */
export interface Outcome<T> {
  readonly result: T;
  /** The work was not done: this is what the first call with the key answered. */
  readonly replayed: boolean;
}

/** The result of a claimed call, with the header that tells a replay. */
export function answer<T>(call: Call, { result, replayed }: Outcome<T>): T {
  if (replayed) call.setHeader("idempotent-replayed", "true");
  return result;
}

/** Runs work at most once per claim, in one transaction with it; see {@link createOnce}. */
export type Once<DB> = <D extends DescMessage>(
  claim: Claim | undefined,
  schema: D,
  work: (trx: Transaction<DB>) => Promise<MessageShape<D>>,
) => Promise<Outcome<MessageShape<D>>>;

/**
 * Does work once per claim: claim, work and answer (a message of `schema`) are one transaction, so a failure stores
 * nothing and the key may be used again. Duplicates in this process share one run; one elsewhere is waited for in the
 * database, at most two seconds (the pool's lock timeout). Without a claim it is a plain transaction.
 *
 * The function it makes throws AppError IDEMPOTENCY_KEY_REUSED for another request with the key, and
 * IDEMPOTENCY_IN_PROGRESS after two seconds.
 */
export function createOnce<DB extends WithIdempotencyKeys>(db: Kysely<DB>): Once<DB> {
  const coalesce = createCoalescer();
  return async (claim, schema, work) => {
    if (!claim) return { result: await transaction(db, work), replayed: false };
    return coalesce(claim, () =>
      claimed(db, claim, schema, work).catch(async (error: unknown) => {
        // The commit may have happened: the row knows.
        if (!isConnectionLost(error)) throw error;
        const replay = await findReplay(db, claim, schema).catch(() => undefined);
        if (!replay) throw error;
        return { result: replay, replayed: true };
      }),
    );
  };
}

function claimed<DB extends WithIdempotencyKeys, D extends DescMessage>(
  db: Kysely<DB>,
  claim: Claim,
  schema: D,
  work: (trx: Transaction<DB>) => Promise<MessageShape<D>>,
): Promise<Outcome<MessageShape<D>>> {
  return transaction(db, async (trx) => {
    const inserted = await insertClaim(trx, claim, Buffer.alloc(0)).catch(inProgress);
    if (!inserted) {
      const replay = await findReplay(trx, claim, schema);
      // Between the conflict and this read the row may have been pruned, after its seven days.
      if (!replay) throw errors.IDEMPOTENCY_IN_PROGRESS({ retryAfterMs: 100 });
      return { result: replay, replayed: true };
    }
    const result = await work(trx);
    await sql`
      update idempotency_keys set response = ${Buffer.from(toBinary(schema, result))}
      where scope = ${claim.scope} and method = ${claim.method} and key = ${claim.key}
    `.execute(trx);
    return { result, replayed: false };
  });
}

async function insertClaim<DB>(db: Kysely<DB>, claim: Claim, response: Buffer): Promise<boolean> {
  const { rows } = await sql`
    insert into idempotency_keys (scope, method, key, request_hash, response, created_at)
    values (${claim.scope}, ${claim.method}, ${claim.key}, ${claim.hash}, ${response}, now())
    on conflict do nothing returning 1
  `.execute(db);
  return rows.length > 0;
}

/**
 * The claim as a part of another statement: a CTE `claim` that has a row only where this call is the first. The rest
 * of the statement says `where exists (select from claim)`.
 */
export function claimCte(claim: Claim, response: Buffer) {
  return sql`
    insert into idempotency_keys (scope, method, key, request_hash, response, created_at)
    values (${claim.scope}, ${claim.method}, ${claim.key}, ${claim.hash}, ${response}, now())
    on conflict do nothing returning 1
  `;
}

type KnownClaim = Pick<IdempotencyKeys, "request_hash" | "response">;

async function findClaim<DB>(db: Kysely<DB>, claim: Claim): Promise<KnownClaim | undefined> {
  const { rows } = await sql<KnownClaim>`
    select request_hash, response from idempotency_keys
    where scope = ${claim.scope} and method = ${claim.method} and key = ${claim.key}
  `.execute(db);
  return rows[0];
}

/** What the first call with this key answered, if there was one. @throws AppError IDEMPOTENCY_KEY_REUSED */
export async function findReplay<DB, D extends DescMessage>(
  db: Kysely<DB>,
  claim: Claim,
  schema: D,
): Promise<MessageShape<D> | undefined> {
  const known = await findClaim(db, claim);
  return known && readResponse(known, claim, schema);
}

function readResponse<D extends DescMessage>(known: KnownClaim, claim: Claim, schema: D): MessageShape<D> {
  if (!known.request_hash.equals(claim.hash)) throw errors.IDEMPOTENCY_KEY_REUSED();
  return fromBinary(schema, known.response);
}

/** Tells the wait for another call with the key from other waits for locks. */
export function inProgress(error: unknown): never {
  if (codeOf(error) === "55P03") throw errors.IDEMPOTENCY_IN_PROGRESS({ retryAfterMs: 500, cause: error });
  throw error;
}

/**
 * Calls with one claim at the same time in this process share one run of the work. Where that fails each of the
 * others runs for itself: its failure is its own.
 */
export function createCoalescer(): <T>(
  claim: Claim | undefined,
  run: () => Promise<Outcome<T>>,
) => Promise<Outcome<T>> {
  const running = new Map<string, { hash: Buffer; outcome: Promise<Outcome<unknown>> }>();

  return async <T>(claim: Claim | undefined, run: () => Promise<Outcome<T>>): Promise<Outcome<T>> => {
    if (!claim) return run();
    const id = JSON.stringify([claim.scope, claim.method, claim.key]);
    for (;;) {
      const first = running.get(id);
      if (!first) break;
      const outcome = (await first.outcome.catch(() => undefined)) as Outcome<T> | undefined;
      if (outcome) {
        if (!first.hash.equals(claim.hash)) throw errors.IDEMPOTENCY_KEY_REUSED();
        return { result: outcome.result, replayed: true };
      }
    }
    const outcome = run();
    running.set(id, { hash: claim.hash, outcome });
    try {
      return await outcome;
    } finally {
      running.delete(id);
    }
  };
}

/** Forgets keys older than seven days, a thousand at a time. Answers how many. */
export async function pruneIdempotencyKeys<DB>(db: Kysely<DB>): Promise<number> {
  let total = 0;
  for (;;) {
    const { numAffectedRows } = await sql`
      delete from idempotency_keys where ctid = any (array(
        select ctid from idempotency_keys where created_at < now() - make_interval(days => ${KEPT_DAYS}) limit 1000
      ))
    `.execute(db);
    total += Number(numAffectedRows ?? 0n);
    if ((numAffectedRows ?? 0n) < 1000n) return total;
  }
}
