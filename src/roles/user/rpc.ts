import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Kysely } from "kysely";
import type { User } from "#gen/commerce/user/v1/user_pb.ts";
import {
  CreateUserRequestSchema,
  CreateUserResponseSchema,
  DeactivateUserRequestSchema,
  DeactivateUserResponseSchema,
  ListUsersRequestSchema,
  ReactivateUserRequestSchema,
  ReactivateUserResponseSchema,
  UpdateUserRequestSchema,
  UpdateUserResponseSchema,
  UserSchema,
  UserState,
} from "#gen/commerce/user/v1/user_pb.ts";
import type { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import type { Handlers } from "../../platform/call.ts";
import type { Clock } from "../../platform/clock.ts";
import { newId } from "../../platform/id.ts";
import type { Once } from "../../platform/idempotency.ts";
import { answer, claimOf } from "../../platform/idempotency.ts";
import type { PageTokens } from "../../platform/page.ts";
import { checkActsFor } from "../../platform/rules/access.ts";
import { changeUser, changeUserState } from "./change-user.ts";
import type { UserTables } from "./schema.ts";
import type { UserRow } from "./store.ts";
import { findUsers, getUser, insertUser, listUsers } from "./store.ts";
import { displayNameOf } from "./user.ts";

export interface UserRpcOptions {
  readonly db: Kysely<UserTables>;
  readonly once: Once<UserTables>;
  readonly pages: PageTokens;
  readonly clock: Clock;
}

export function createUserRpc({ db, once, pages, clock }: UserRpcOptions): Handlers<typeof UserService> {
  return {
    async createUser(request, call) {
      const claim = claimOf(call, CreateUserRequestSchema, request);
      const outcome = await once(claim, CreateUserResponseSchema, async (trx) => {
        const now = clock.now();
        const user = await insertUser(trx, {
          id: newId(),
          email: request.email,
          display_name: request.displayName || displayNameOf(request.email),
          state: "active",
          version: 1,
          created_at: now,
          updated_at: now,
        });
        return create(CreateUserResponseSchema, { user: toProto(user) });
      });
      return answer(call, outcome);
    },

    async getUser(request, call) {
      const id = request.id.toLowerCase();
      checkActsFor(call.subject, id, "user.read");
      return { user: toProto(await getUser(db, id)) };
    },

    async batchGetUsers(request, { signal }) {
      const ids = [...new Set(request.ids.map((id) => id.toLowerCase()))];
      const found = new Map((await findUsers(db, ids, signal)).map((user) => [user.id, user]));
      return {
        users: ids.flatMap((id) => found.get(id) ?? []).map(toProto),
        absentIds: ids.filter((id) => !found.has(id)),
      };
    },

    async listUsers(request, call) {
      const page = pages.open({
        call,
        schema: ListUsersRequestSchema,
        request,
        token: request.pageToken,
        tokenField: "page_token",
        size: request.pageSize,
        omit: ["pageToken", "pageSize"],
      });
      const filter = { state: stateOf(request.state), prefix: request.prefix };
      const users = await listUsers(db, filter, page.after?.[0], page.limit, call.signal);
      const { rows, nextPageToken } = page.cut(users, (last) => [last.id]);
      return { users: rows.map(toProto), nextPageToken };
    },

    async updateUser(request, call) {
      const id = request.id.toLowerCase();
      checkActsFor(call.subject, id, "user.write");
      const claim = claimOf(call, UpdateUserRequestSchema, request, { scope: id });
      const change = {
        ...(request.email !== undefined && { email: request.email }),
        ...(request.displayName !== undefined && { display_name: request.displayName }),
      };
      const outcome = await once(claim, UpdateUserResponseSchema, async (trx) => {
        const user = await changeUser(trx, id, request.expectedVersion, change, clock.now());
        return create(UpdateUserResponseSchema, { user: toProto(user) });
      });
      return answer(call, outcome);
    },

    async deactivateUser(request, call) {
      const id = request.id.toLowerCase();
      const claim = claimOf(call, DeactivateUserRequestSchema, request, { scope: id });
      const outcome = await once(claim, DeactivateUserResponseSchema, async (trx) => {
        const user = await changeUserState(trx, id, request.expectedVersion, "deactivated", clock.now());
        return create(DeactivateUserResponseSchema, { user: toProto(user) });
      });
      return answer(call, outcome);
    },

    async reactivateUser(request, call) {
      const id = request.id.toLowerCase();
      const claim = claimOf(call, ReactivateUserRequestSchema, request, { scope: id });
      const outcome = await once(claim, ReactivateUserResponseSchema, async (trx) => {
        const user = await changeUserState(trx, id, request.expectedVersion, "active", clock.now());
        return create(ReactivateUserResponseSchema, { user: toProto(user) });
      });
      return answer(call, outcome);
    },
  };
}

function stateOf(state: UserState): UserRow["state"] | undefined {
  switch (state) {
    case UserState.ACTIVE:
      return "active";
    case UserState.DEACTIVATED:
      return "deactivated";
    default:
      return undefined;
  }
}

function toProto(user: UserRow): User {
  return create(UserSchema, {
    id: user.id,
    email: user.email,
    displayName: user.display_name,
    state: user.state === "active" ? UserState.ACTIVE : UserState.DEACTIVATED,
    version: user.version,
    createdAt: timestampFromDate(user.created_at),
    updatedAt: timestampFromDate(user.updated_at),
  });
}
