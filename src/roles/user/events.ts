import type { Transaction } from "kysely";
import { UserEventSchema } from "#gen/commerce/user/v1/events_pb.ts";
import { afterCommit } from "../../platform/database.ts";
import { BROADCAST_BYTES } from "../../platform/events/bus-limits.ts";
import type { EventInit, EventsDeclaration } from "../../platform/events/declaration.ts";
import type { Outbox } from "../../platform/events/outbox.ts";
import type { Broadcast } from "../../platform/events/role-events.ts";
import { entryToProto, userToProto } from "./rpc-messages.ts";
import type { UserTables } from "./schema.ts";
import type { AddressRow } from "./store-addresses.ts";
import type { UserRow } from "./store.ts";

export const userEvents = { emits: { schema: UserEventSchema, version: 1 } } satisfies EventsDeclaration;

/** The channel on which ended sessions are told to whoever takes their tokens. */
const SESSIONS_CHANNEL = "sessions-ended";
const ID_LENGTH = 36;
/** Sessions that one hint names at most, with commas between them. */
const MOST_NAMED = Math.floor((BROADCAST_BYTES + 1) / (ID_LENGTH + 1));

type Trx = Transaction<UserTables>;
type UserChange = "created" | "updated" | "deactivated" | "reactivated" | "rolesChanged" | "emailConfirmed";
type UserWish = "loginAdded" | "passwordChanged" | "passwordResetRequested" | "emailConfirmationRequested";

/** Tells others of the changes of users. Each is written in the change's own transaction. */
export interface UserAnnouncements {
  /** With the user as it is after the change. */
  changed(trx: Trx, what: UserChange, user: UserRow): Promise<void>;
  wished(trx: Trx, what: UserWish, userId: string, now: Date): Promise<void>;
  addressPut(trx: Trx, what: "addressAdded" | "addressChanged", row: AddressRow): Promise<void>;
  addressRemoved(trx: Trx, userId: string, addressId: string, now: Date): Promise<void>;
  /** A hint, once that is committed: the revocations of the database are what counts. */
  sessionsEnded(trx: Trx, ids: readonly string[]): void;
}

export function announceUsers(outbox: Outbox<typeof UserEventSchema>, broadcast: Broadcast): UserAnnouncements {
  const emit = (trx: Trx, userId: string, event: EventInit<typeof UserEventSchema>, now: Date) =>
    outbox.emit(trx, userId, event, now);
  return {
    changed: (trx, what, user) =>
      emit(trx, user.id, { case: what, value: { user: userToProto(user) } }, user.updated_at),
    wished: (trx, what, userId, now) => emit(trx, userId, { case: what, value: { userId } }, now),
    addressPut: (trx, what, row) =>
      emit(trx, row.user_id, { case: what, value: { userId: row.user_id, entry: entryToProto(row) } }, row.updated_at),
    addressRemoved: (trx, userId, addressId, now) =>
      emit(trx, userId, { case: "addressRemoved", value: { userId, addressId } }, now),
    sessionsEnded(trx, ids) {
      if (ids.length === 0) return;
      afterCommit(trx, () => {
        for (let at = 0; at < ids.length; at += MOST_NAMED) {
          broadcast.send(SESSIONS_CHANNEL, Buffer.from(ids.slice(at, at + MOST_NAMED).join(",")));
        }
      });
    },
  };
}
