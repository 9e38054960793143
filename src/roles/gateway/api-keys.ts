import { boundedMap } from "../../platform/bounded-map.ts";
import { fromDatabaseError } from "../../platform/database-errors.ts";
import { errors } from "../../platform/errors.ts";
import type { Logger } from "../../platform/logger.ts";

/** A key that is not revoked, as the database has it. */
export interface LiveKey {
  readonly id: string;
  readonly permissions: readonly string[];
  readonly secret_hash: Buffer;
  readonly expires_at: Date | null;
}

export interface ApiKeysOptions {
  /** Reads those of the keys that exist and are not revoked. */
  readonly read: (ids: readonly string[]) => Promise<readonly LiveKey[]>;
  /** Stores when keys were last used. */
  readonly writeUses: (uses: ReadonlyMap<string, Date>) => Promise<void>;
  readonly log: Logger;
  /** Milliseconds between two times that uses are written. */
  readonly usesEveryMs?: number;
}

/** Milliseconds that what was read of a key holds. */
const HOLDS_MS = 900;
/** Milliseconds after which a key in use is read again, while what is known still serves. */
const STALE_MS = 450;
/** Keys that are remembered, those that do not exist among them. */
const CACHE_SIZE = 10_000;
/** Keys of one query. */
const BATCH = 500;
/** Keys that may wait to be read: over it calls are refused. */
const MOST_WAITING = 5_000;
const USES_EVERY_MS = 30_000;

/** The keys of machines on this process: none is taken for live for a second after it was revoked anywhere. */
export interface ApiKeys {
  /**
   * Undefined where there is no such key, or it is revoked.
   * @throws AppError PEER_DOWN or OVERLOADED where it cannot be read: nobody is let in on old knowledge
   */
  find(id: string): Promise<LiveKey | undefined>;
  /** Calls back once when the key is revoked; answers how to stop listening. */
  onRevoked(id: string, listener: () => void): () => void;
  /** Notes a use; written later. */
  used(id: string, at: Date): void;
  /** Tells that a key was revoked: it ends here at once. */
  revoked(id: string): void;
  close(): Promise<void>;
}

interface Known {
  readonly key: LiveKey | undefined;
  /** When its reading began, on the process's own clock. */
  readonly readAt: number;
}

interface Waiting {
  readonly promise: Promise<LiveKey | undefined>;
  readonly resolve: (key: LiveKey | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Reads keys in batches, one query at a time: a flood of invented keys is one connection's work, however many they
 * are. A key in use is read again before its time is over, so that its calls do not wait.
 */
export function createApiKeys({ read, writeUses, log, usesEveryMs = USES_EVERY_MS }: ApiKeysOptions): ApiKeys {
  const known = boundedMap<string, Known>(CACHE_SIZE);
  const waiting = new Map<string, Waiting>();
  const listeners = new Map<string, Set<() => void>>();
  let uses = new Map<string, Date>();
  let reading = false;

  function request(id: string): Promise<LiveKey | undefined> {
    const asked = waiting.get(id);
    if (asked) return asked.promise;
    if (waiting.size >= MOST_WAITING) return Promise.reject(errors.OVERLOADED({ retryAfterMs: 1_000 }));
    const { promise, resolve, reject } = Promise.withResolvers<LiveKey | undefined>();
    promise.catch(() => undefined);
    waiting.set(id, { promise, resolve, reject });
    void readAll();
    return promise;
  }

  async function readAll(): Promise<void> {
    if (reading) return;
    reading = true;
    while (waiting.size > 0) {
      const batch = [...waiting].slice(0, BATCH);
      for (const [id] of batch) waiting.delete(id);
      await readBatch(new Map(batch));
    }
    reading = false;
  }

  async function readBatch(batch: ReadonlyMap<string, Waiting>): Promise<void> {
    const readAt = performance.now();
    try {
      const keys = new Map((await read([...batch.keys()])).map((key) => [key.id, key]));
      for (const [id, { resolve }] of batch) resolve(learn(id, { key: keys.get(id), readAt }));
    } catch (error) {
      const refusal = fromDatabaseError(error) ?? error;
      for (const { reject } of batch.values()) reject(refusal);
    }
  }

  /** What is known now: a reading that began before the key was revoked here does not count. */
  function learn(id: string, read: Known): LiveKey | undefined {
    const before = known.get(id);
    const latest = before && before.readAt > read.readAt ? before : read;
    known.set(id, latest);
    if (latest.key) return latest.key;
    const told = listeners.get(id);
    listeners.delete(id);
    for (const listener of told ?? []) listener();
    return undefined;
  }

  async function writeAll(): Promise<void> {
    if (uses.size === 0) return;
    const written = uses;
    uses = new Map();
    await writeUses(written).catch((error: unknown) => {
      log.warn({ err: error }, "the last use of API keys was not stored");
      uses = new Map([...written, ...uses]);
    });
  }

  let writing = Promise.resolve();
  const writer = setInterval(() => {
    writing = writing.then(writeAll);
  }, usesEveryMs);
  writer.unref();
  // Keys with a stream are read again whether or not they are used for anything else.
  const watcher = setInterval(() => {
    for (const id of listeners.keys()) request(id).catch(() => undefined);
  }, STALE_MS);
  watcher.unref();

  return {
    async find(id) {
      const entry = known.get(id);
      const age = entry ? performance.now() - entry.readAt : Infinity;
      if (!entry || age > HOLDS_MS) return request(id);
      if (entry.key && age > STALE_MS) request(id).catch(() => undefined);
      return entry.key;
    },
    onRevoked(id, listener) {
      const told = listeners.get(id) ?? new Set();
      listeners.set(id, told.add(listener));
      // It may have been revoked since its call began.
      request(id).catch(() => undefined);
      return () => {
        told.delete(listener);
        if (told.size === 0 && listeners.get(id) === told) listeners.delete(id);
      };
    },
    used(id, at) {
      uses.set(id, at);
    },
    revoked(id) {
      // For good: a revoked key does not come back.
      learn(id, { key: undefined, readAt: Infinity });
    },
    async close() {
      clearInterval(watcher);
      clearInterval(writer);
      await writing;
      await writeAll();
    },
  };
}
