import type { Kysely } from "kysely";
import type { NotificationService } from "#gen/commerce/notification/v1/notification_pb.ts";
import { ListDeliveriesRequestSchema } from "#gen/commerce/notification/v1/notification_pb.ts";
import type { Call, Handlers } from "../../platform/call.ts";
import { afterCommit, transaction } from "../../platform/database.ts";
import { invalidRequest, notFound } from "../../platform/errors.ts";
import type { PageTokens } from "../../platform/page.ts";
import { checkActsFor } from "../../platform/rules/access.ts";
import { completed, lastOfEach } from "./preferences.ts";
import { deliveryToProto, parsePreferences, parseStates, preferenceToProto } from "./rpc-messages.ts";
import type { NotificationTables } from "./schema.ts";
import { findDelivery, listDeliveries, reviveDelivery } from "./store.ts";
import { listPreferences, putPreferences } from "./store-preferences.ts";

export interface NotificationRpcOptions {
  readonly db: Kysely<NotificationTables>;
  readonly pages: PageTokens;
  /** Has the sender look at once. */
  readonly wake: () => void;
}

const READ = "notification.read";
const WRITE = "notification.write";

export function createNotificationRpc({
  db,
  pages,
  wake,
}: NotificationRpcOptions): Handlers<typeof NotificationService> {
  return {
    async listDeliveries(request, call) {
      const filter = { userId: listedOwner(request.userId, call), states: parseStates(request.states) };
      const page = pages.open({
        call,
        schema: ListDeliveriesRequestSchema,
        request,
        token: request.pageToken,
        tokenField: "page_token",
        size: request.pageSize,
        omit: ["pageToken", "pageSize"],
      });
      const found = await listDeliveries(db, filter, page.after?.[0], page.limit, call.signal);
      const { rows, nextPageToken } = page.cut(found, (last) => [last.id]);
      return { deliveries: rows.map((row) => deliveryToProto(row, readsAll(call))), nextPageToken };
    },

    async retryDelivery(request) {
      const id = request.id.toLowerCase();
      await transaction(db, async (trx) => {
        if (await reviveDelivery(trx, id)) afterCommit(trx, wake);
      });
      const delivery = await findDelivery(db, id);
      if (!delivery) throw notFound("delivery", id);
      return { delivery: deliveryToProto(delivery, true) };
    },

    async getPreferences({ userId }, call) {
      const said = await listPreferences(db, ownerOf(userId, call, READ));
      return { preferences: completed(said).map(preferenceToProto) };
    },

    async updatePreferences(request, call) {
      const userId = ownerOf(request.userId, call, WRITE);
      const changes = lastOfEach(parsePreferences(request.preferences));
      if (changes.length > 0) await putPreferences(db, userId, changes);
      return { preferences: completed(await listPreferences(db, userId)).map(preferenceToProto) };
    },
  };
}

function readsAll({ subject }: Call): boolean {
  return (subject.kind === "user" || subject.kind === "machine") && subject.permissions.includes(READ);
}

/** Whose deliveries are listed; undefined for everybody's. @throws AppError ACCESS_DENIED */
function listedOwner(named: string, call: Call): string | undefined {
  const { subject } = call;
  const userId = named.toLowerCase();
  if (userId !== "") {
    checkActsFor(subject, userId, READ);
    return userId;
  }
  if (subject.kind === "user" && !readsAll(call)) return subject.id;
  checkActsFor(subject, "", READ);
  return undefined;
}

/** Whose preferences a request is about. @throws AppError ACCESS_DENIED; INVALID_REQUEST of a caller that is no user */
function ownerOf(named: string, { subject }: Call, permission: string): string {
  const userId = named.toLowerCase();
  if (userId !== "") {
    checkActsFor(subject, userId, permission);
    return userId;
  }
  if (subject.kind === "user") return subject.id;
  throw invalidRequest({ field: "user_id", description: "is required of a caller that is no user" });
}
