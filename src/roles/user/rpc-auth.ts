import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { AuthService, SessionSchema } from "#gen/commerce/user/v1/auth_pb.ts";
import { SetUserRolesRequestSchema, SetUserRolesResponseSchema } from "#gen/commerce/user/v1/auth_pb.ts";
import type { Handlers, Subject } from "../../platform/call.ts";
import { transaction } from "../../platform/database.ts";
import type { Once } from "../../platform/idempotency.ts";
import { answer, claimOf } from "../../platform/idempotency.ts";
import { checkActsFor } from "../../platform/rules/access.ts";
import { errors } from "../../platform/errors.ts";
import { changePassword } from "./change-password.ts";
import type { AuthContext } from "./log-in.ts";
import { logIn } from "./log-in.ts";
import type { UserRole } from "./permission.ts";
import { permissionsOf } from "./permission.ts";
import { refreshSession } from "./refresh-session.ts";
import type { MailRpcOptions } from "./rpc-mail.ts";
import { createMailRpc } from "./rpc-mail.ts";
import { ADDRESS_HEADER, AGENT_HEADER, callingUser, parseRoles, tokensToProto, userToProto } from "./rpc-messages.ts";
import type { OpenIdRpcOptions } from "./rpc-openid.ts";
import { createOpenIdRpc } from "./rpc-openid.ts";
import type { UserTables } from "./schema.ts";
import { setUserRoles } from "./set-user-roles.ts";
import type { SessionRow } from "./store-sessions.ts";
import { endSessions, listSessions } from "./store-sessions.ts";
import { getUser, lockUser } from "./store.ts";
import type { RevocationsContext } from "./watch-revocations.ts";
import { watchRevocations } from "./watch-revocations.ts";

export interface AuthRpcOptions extends AuthContext, RevocationsContext, MailRpcOptions, OpenIdRpcOptions {
  readonly once: Once<UserTables>;
}

export function createAuthRpc(context: AuthRpcOptions): Handlers<typeof AuthService> {
  const { db, once, clock, signingKeys, announce } = context;
  return {
    ...createMailRpc(context),
    ...createOpenIdRpc(context),

    async login({ email, password }, call) {
      const attempt = { email, password, address: call.header(ADDRESS_HEADER), agent: call.header(AGENT_HEADER) };
      const { user, tokens } = await logIn(context, attempt, call.signal);
      return { ...tokensToProto(tokens), user: userToProto(user) };
    },

    async refresh({ refreshToken }, call) {
      return tokensToProto(await refreshSession(context, refreshToken, call.log));
    },

    async logout(_request, call) {
      const { id, sessionId } = callingUser(call.subject);
      if (sessionId === undefined) return {};
      await transaction(db, async (trx) => {
        announce.sessionsEnded(trx, await endSessions(trx, { userId: id, only: sessionId }, clock.now()));
      });
      return {};
    },

    async logoutEverywhere(request, call) {
      const userId = ownerOf(request.userId, call.subject, "user.write");
      const endedSessions = await transaction(db, async (trx) => {
        // A login that is under way is either among them or comes after.
        await lockUser(trx, userId);
        const ids = await endSessions(trx, { userId }, clock.now());
        announce.sessionsEnded(trx, ids);
        return ids.length;
      });
      return { endedSessions };
    },

    async changePassword(request, call) {
      const { id, sessionId } = callingUser(call.subject);
      const change = { userId: id, sessionId, current: request.currentPassword, next: request.newPassword };
      await changePassword(context, change, call.signal);
      return {};
    },

    async listSessions(request, call) {
      const userId = ownerOf(request.userId, call.subject, "user.read");
      const sessions = await listSessions(db, userId, clock.now(), call.signal);
      if (sessions.length === 0) await getUser(db, userId);
      const own = call.subject.kind === "user" ? call.subject.sessionId : undefined;
      return { sessions: sessions.map((session) => sessionToProto(session, own)) };
    },

    async setUserRoles(request, call) {
      const id = request.userId.toLowerCase();
      const roles = parseRoles(request.roles);
      checkGives(call.subject, roles);
      const claim = claimOf(call, SetUserRolesRequestSchema, request, { scope: id });
      const outcome = await once(claim, SetUserRolesResponseSchema, async (trx) => {
        const user = await setUserRoles(trx, id, request.expectedVersion, roles, clock.now(), announce);
        return create(SetUserRolesResponseSchema, { user: userToProto(user) });
      });
      return answer(call, outcome);
    },

    async listSigningKeys() {
      const keys = await signingKeys.published();
      return { keys: keys.map(({ id, public_key: publicKey }) => ({ id, publicKey })) };
    },

    watchRevocations({ afterPosition }, call) {
      return watchRevocations(context, call, afterPosition);
    },
  };
}

/**
 * Nobody gives what they do not have, and no machine gives: what it gave would outlive its key.
 * @throws AppError ACCESS_DENIED
 */
function checkGives(subject: Subject, roles: readonly UserRole[]): void {
  const held = subject.kind === "user" ? subject.permissions : [];
  const isHeld = permissionsOf(roles).every((permission) => held.includes(permission));
  if (subject.kind !== "user" || !isHeld) throw errors.ACCESS_DENIED();
}

/** Whom a call is about: the caller, or with the permission whom it names. */
function ownerOf(userId: string, subject: Subject, permission: string): string {
  if (userId === "") return callingUser(subject).id;
  const id = userId.toLowerCase();
  checkActsFor(subject, id, permission);
  return id;
}

function sessionToProto(session: SessionRow, own: string | undefined): MessageInitShape<typeof SessionSchema> {
  return {
    id: session.id,
    client: session.client,
    createdAt: timestampFromDate(session.created_at),
    lastUsedAt: timestampFromDate(session.last_used_at),
    expiresAt: timestampFromDate(session.expires_at),
    current: session.id === own,
  };
}
