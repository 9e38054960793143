import type { KeyObject } from "node:crypto";
import type { Kysely } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import { transaction } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import type { Logger } from "../../platform/logger.ts";
import type { Signer } from "./access-token.ts";
import type { UserTables } from "./schema.ts";
import type { Schedule } from "./signing-key.ts";
import { newKeyPair, planKey, seal, signerAt, unseal } from "./signing-key.ts";
import type { SigningKeyRow } from "./store-signing-keys.ts";
import { insertSigningKey, listSigningKeys, lockSigningKeys } from "./store-signing-keys.ts";

/** Milliseconds that a process signs with the keys that it has read. Each is published longer before it signs. */
const READ_EVERY_MS = 60_000;

export interface SigningKeysContext {
  readonly db: Kysely<UserTables>;
  readonly clock: Clock;
  /** 32 bytes that private keys are sealed with. */
  readonly secret: Buffer;
  readonly log: Logger;
}

/** The keys of access tokens. They are made when they are needed, and follow one another by themselves. */
export interface SigningKeyRing {
  /** The key to sign with now. */
  signer(): Promise<Signer>;
  /** The keys that verifiers are to know, read just now. */
  published(): Promise<SigningKeyRow[]>;
}

/** A key that this process can sign with. */
interface OwnKey extends Schedule, Signer {}

interface Known {
  readonly rows: SigningKeyRow[];
  readonly own: readonly OwnKey[];
  readonly readAt: Date;
}

export function keepSigningKeys({ db, clock, secret, log }: SigningKeysContext): SigningKeyRing {
  let known: Known | undefined;
  let reading: Promise<Known> | undefined;

  function open(rows: SigningKeyRow[], readAt: Date): Known {
    const own = rows.flatMap(({ id, private_key, signs_from, signs_until, valid_until }): OwnKey[] => {
      const privateKey = unsealed(id, private_key);
      return privateKey
        ? [{ id, privateKey, signsFrom: signs_from, signsUntil: signs_until, validUntil: valid_until }]
        : [];
    });
    return { rows, own, readAt };
  }

  /** A key that was sealed with another secret still verifies; another one is made to sign. */
  function unsealed(id: string, sealed: Buffer): KeyObject | undefined {
    try {
      return unseal(sealed, id, secret);
    } catch {
      log.warn({ key: id }, "a signing key was sealed with another secret; it signs nothing here");
      return undefined;
    }
  }

  async function read(): Promise<Known> {
    const now = clock.now();
    const found = open(await listSigningKeys(db, now), now);
    return planKey(found.own, now) ? make() : found;
  }

  /** Of the processes that find at once that a key is needed, the first makes it and the others find it. */
  async function make(): Promise<Known> {
    const pair = newKeyPair();
    return transaction(db, async (trx) => {
      await lockSigningKeys(trx);
      const now = clock.now();
      const found = open(await listSigningKeys(trx, now), now);
      const plan = planKey(found.own, now);
      if (!plan) return found;
      const id = newId();
      const row = {
        id,
        public_key: pair.publicKey,
        private_key: seal(pair.privateKey, id, secret),
        created_at: now,
        signs_from: plan.signsFrom,
        signs_until: plan.signsUntil,
        valid_until: plan.validUntil,
      };
      await insertSigningKey(trx, row, now);
      return open([...found.rows, row], now);
    });
  }

  /** Calls at the same time share one read. */
  async function refresh(): Promise<Known> {
    reading ??= read().finally(() => (reading = undefined));
    return (known = await reading);
  }

  return {
    async signer() {
      const now = clock.now();
      const fresh = known && Math.abs(now.getTime() - known.readAt.getTime()) < READ_EVERY_MS ? known : await refresh();
      const signer = signerAt(fresh.own, now) ?? signerAt((await refresh()).own, clock.now());
      if (!signer) throw new Error("There is no key to sign with.");
      return signer;
    },
    async published() {
      return (await refresh()).rows;
    },
  };
}
