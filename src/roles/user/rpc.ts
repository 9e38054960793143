import { createHmac } from "node:crypto";
import { create } from "@bufbuild/protobuf";
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
  UserState,
} from "#gen/commerce/user/v1/user_pb.ts";
import type { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import type { Handlers } from "../../platform/call.ts";
import { newId } from "../../platform/id.ts";
import type { Claim } from "../../platform/idempotency.ts";
import { answer, claimOf } from "../../platform/idempotency.ts";
import type { PageTokens } from "../../platform/page.ts";
import { checkActsFor } from "../../platform/rules/access.ts";
import { checkOwnEmail } from "./check-own-email.ts";
import { changeUser, changeUserState } from "./change-user.ts";
import type { Passwords } from "./password-hashing.ts";
import { userToProto as toProto } from "./rpc-messages.ts";
import type { ProfileRpcOptions } from "./rpc-profile.ts";
import { createProfileRpc, parseChange } from "./rpc-profile.ts";
import { insertPassword } from "./store-credentials.ts";
import type { UserRow } from "./store.ts";
import { findUsers, getUser, insertUser, listUsers } from "./store.ts";
import { displayNameOf } from "./user.ts";

export interface UserRpcOptions extends ProfileRpcOptions {
  readonly pages: PageTokens;
  readonly passwords: Passwords;
  /** 32 bytes; see {@link withoutGuessing}. */
  readonly claimSecret: Buffer;
}

export function createUserRpc(options: UserRpcOptions): Handlers<typeof UserService> {
  const { db, once, pages, clock, passwords, claimSecret, announce } = options;
  return {
    ...createProfileRpc(options),

    async createUser(request, call) {
      const { email, password } = request;
      const claim = withoutGuessing(claimOf(call, CreateUserRequestSchema, request), password, claimSecret);
      // Before the transaction: nothing waits for a hash.
      const hash = password === "" ? undefined : await passwords.hash(password, call.signal);
      const outcome = await once(claim, CreateUserResponseSchema, async (trx) => {
        const now = clock.now();
        const user = await insertUser(trx, {
          id: newId(),
          email,
          display_name: request.displayName || displayNameOf(email),
          state: "active",
          roles: [],
          version: 1,
          locale: request.locale,
          email_confirmed_at: null,
          created_at: now,
          updated_at: now,
        });
        if (hash !== undefined) await insertPassword(trx, user.id, hash, now);
        await announce.changed(trx, "created", user);
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
      const isOwn = call.subject.kind === "user" && call.subject.id === id;
      if (isOwn) await checkOwnEmail(options, id, request.email, request.currentPassword, call.signal);
      const claim = claimOf(call, UpdateUserRequestSchema, request, { scope: id, omit: ["currentPassword"] });
      const outcome = await once(claim, UpdateUserResponseSchema, async (trx) => {
        const user = await changeUser(trx, id, request.expectedVersion, parseChange(request), clock.now(), announce);
        return create(UpdateUserResponseSchema, { user: toProto(user) });
      });
      return answer(call, outcome);
    },

    async deactivateUser(request, call) {
      const id = request.id.toLowerCase();
      const claim = claimOf(call, DeactivateUserRequestSchema, request, { scope: id });
      const outcome = await once(claim, DeactivateUserResponseSchema, async (trx) => {
        const user = await changeUserState(trx, id, request.expectedVersion, "deactivated", clock.now(), announce);
        return create(DeactivateUserResponseSchema, { user: toProto(user) });
      });
      return answer(call, outcome);
    },

    async reactivateUser(request, call) {
      const id = request.id.toLowerCase();
      const claim = claimOf(call, ReactivateUserRequestSchema, request, { scope: id });
      const outcome = await once(claim, ReactivateUserResponseSchema, async (trx) => {
        const user = await changeUserState(trx, id, request.expectedVersion, "active", clock.now(), announce);
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

/**
 * The claim of a request with a password. A plain digest of it, stored for days, would let whoever reads the table try
 * passwords at the speed of SHA-256 instead of argon2id; under a key that the database does not have it tells nothing.
 */
function withoutGuessing(claim: Claim | undefined, password: string, secret: Buffer): Claim | undefined {
  if (!claim || password === "") return claim;
  return { ...claim, hash: createHmac("sha256", secret).update(claim.hash).digest() };
}
