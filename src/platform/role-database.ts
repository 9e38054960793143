import type { Database } from "./database.ts";
import { openDatabase } from "./database.ts";
import { pruneIdempotencyKeys } from "./idempotency.ts";
import type { Logger } from "./logger.ts";
import { pendingMigrations } from "./migrate.ts";
import type { Notifications } from "./notifications.ts";
import { listen } from "./notifications.ts";

const pruneEveryMs = 3_600_000;

/** The database of a running role. */
export interface RoleDatabase extends Pick<Database<unknown>, "db" | "close"> {
  /** "ok", or why the role cannot serve: the database is away, or lacks migrations. */
  check(): Promise<string>;
  /** Listens on a channel until the database is closed. */
  listen(channel: string): Notifications;
}

export interface RoleDatabaseOptions {
  readonly url: string;
  readonly role: string;
  readonly poolSize: number;
  readonly statementTimeoutMs: number;
  readonly log: Logger;
}

/** Opens a role's database and keeps its house: forgets old idempotency keys every hour. */
export function openRoleDatabase(options: RoleDatabaseOptions): RoleDatabase {
  const { role, log } = options;
  const { db, close } = openDatabase<unknown>(options);
  const listening: ReturnType<typeof listen>[] = [];
  let pruned = false;

  const prune = () => {
    pruneIdempotencyKeys(db).catch((error: unknown) => {
      log.warn({ role, err: error }, "idempotency keys were not pruned");
    });
  };
  const pruning = setInterval(prune, pruneEveryMs);
  pruning.unref();

  return {
    db,
    async check() {
      try {
        const pending = await pendingMigrations(db, role);
        if (pending.length > 0) return `lacks ${pending.join(", ")}: npm run migrate -- ${role}`;
        if (!pruned) prune();
        pruned = true;
        return "ok";
      } catch (error) {
        return `database: ${error instanceof Error ? error.message || error.name : String(error)}`;
      }
    },
    listen(channel) {
      const notifications = listen({ url: options.url, role, channel, log });
      listening.push(notifications);
      return notifications;
    },
    async close() {
      clearInterval(pruning);
      await Promise.all(listening.map((notifications) => notifications.close()));
      await close();
    },
  };
}
