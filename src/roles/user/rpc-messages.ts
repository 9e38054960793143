import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { AddressBookEntrySchema, User } from "#gen/commerce/user/v1/user_pb.ts";
import { UserRole as UserRoleMessage, UserSchema, UserState } from "#gen/commerce/user/v1/user_pb.ts";
import type { Subject } from "../../platform/call.ts";
import { errors } from "../../platform/errors.ts";
import type { Tokens } from "./open-session.ts";
import type { UserRole } from "./permission.ts";
import type { AddressRow } from "./store-addresses.ts";
import type { UserRow } from "./store.ts";

/** Set by the gateway, over whatever a client sends: where the client is. */
export const ADDRESS_HEADER = "x-client-address";
/** Set by the gateway, over whatever a client sends: what the client calls itself. */
export const AGENT_HEADER = "x-client-agent";

const roleMessages: Readonly<Record<UserRole, UserRoleMessage>> = {
  support: UserRoleMessage.SUPPORT,
  admin: UserRoleMessage.ADMIN,
};

/** The roles of a request; the proto's constraints let no other values in. */
export function parseRoles(roles: readonly UserRoleMessage[]): UserRole[] {
  return (["admin", "support"] as const).filter((role) => roles.includes(roleMessages[role]));
}

/** A user as every method answers it. */
export function userToProto(user: UserRow): User {
  return create(UserSchema, {
    id: user.id,
    email: user.email,
    displayName: user.display_name,
    state: user.state === "active" ? UserState.ACTIVE : UserState.DEACTIVATED,
    version: user.version,
    createdAt: timestampFromDate(user.created_at),
    updatedAt: timestampFromDate(user.updated_at),
    roles: user.roles.map((role) => roleMessages[role]),
    locale: user.locale,
    emailConfirmed: user.email_confirmed_at !== null,
  });
}

/** The tokens of a session as every method answers them. */
export function tokensToProto({ access, refreshToken, refreshExpiresAt }: Tokens) {
  return {
    accessToken: access.token,
    accessTokenExpiresAt: timestampFromDate(access.expiresAt),
    refreshToken,
    refreshTokenExpiresAt: timestampFromDate(refreshExpiresAt),
  };
}

/** An entry of an address book as every method answers it. */
export function entryToProto({ id, address }: AddressRow): MessageInitShape<typeof AddressBookEntrySchema> {
  return { id, address: { ...address, lines: [...address.lines] } };
}

/** The user of a method that is about the caller. @throws AppError TOKEN_MISSING of nobody, ACCESS_DENIED of a role */
export function callingUser(subject: Subject): Extract<Subject, { kind: "user" }> {
  if (subject.kind === "user") return subject;
  throw subject.kind === "anonymous" ? errors.TOKEN_MISSING() : errors.ACCESS_DENIED();
}
