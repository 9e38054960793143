import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { AuthService, ExternalIdentitySchema, FinishOpenIdLoginRequest } from "#gen/commerce/user/v1/auth_pb.ts";
import type { Handlers } from "../../platform/call.ts";
import type { OpenIdLoginContext } from "./finish-openid-login.ts";
import { finishOpenIdLogin } from "./finish-openid-login.ts";
import type { LinkContext } from "./link-identity.ts";
import { linkIdentity, unlinkIdentity } from "./link-identity.ts";
import type { LoginAnswer } from "./prove-identity.ts";
import { startOpenIdLogin } from "./prove-identity.ts";
import { ADDRESS_HEADER, AGENT_HEADER, callingUser, tokensToProto, userToProto } from "./rpc-messages.ts";
import type { IdentityRow } from "./store-identities.ts";
import { listIdentities } from "./store-identities.ts";

export interface OpenIdRpcOptions extends OpenIdLoginContext, LinkContext {}

type OpenIdMethods =
  | "listLoginProviders"
  | "startOpenIdLogin"
  | "finishOpenIdLogin"
  | "linkOpenIdIdentity"
  | "listExternalIdentities"
  | "unlinkExternalIdentity";

/** The methods of AuthService that are about logins at OpenID providers. */
export function createOpenIdRpc(options: OpenIdRpcOptions): Pick<Handlers<typeof AuthService>, OpenIdMethods> {
  const { db, providers } = options;
  return {
    listLoginProviders: () =>
      Promise.resolve({ providers: [...providers.values()].map(({ name, label }) => ({ name, label })) }),

    async startOpenIdLogin({ provider, returnTo, link }, { subject }) {
      return startOpenIdLogin(options, { provider, returnTo, userId: link ? callingUser(subject).id : undefined });
    },

    async finishOpenIdLogin(request, call) {
      const client = { address: call.header(ADDRESS_HEADER), agent: call.header(AGENT_HEADER) };
      const { user, tokens, returnTo } = await finishOpenIdLogin(options, { ...answerOf(request), ...client });
      return { ...tokensToProto(tokens), user: userToProto(user), returnTo };
    },

    async linkOpenIdIdentity(request, { subject, signal }) {
      const { id: userId } = callingUser(subject);
      const attempt = { ...answerOf(request), userId, password: request.currentPassword };
      return { identity: identityToProto(await linkIdentity(options, attempt, signal)) };
    },

    async listExternalIdentities(_request, { subject }) {
      return { identities: (await listIdentities(db, callingUser(subject).id)).map(identityToProto) };
    },

    async unlinkExternalIdentity(request, { subject }) {
      const { id, sessionId } = callingUser(subject);
      await unlinkIdentity(options, id, request.id.toLowerCase(), sessionId);
      return {};
    },
  };
}

type AnswerFields = "loginToken" | "code" | "state" | "iss" | "error";

function answerOf({ loginToken, code, state, iss, error }: Pick<FinishOpenIdLoginRequest, AnswerFields>): LoginAnswer {
  return { loginToken, code, state, iss, error };
}

function identityToProto(row: IdentityRow): MessageInitShape<typeof ExternalIdentitySchema> {
  const { id, provider, issuer, email } = row;
  return { id, provider, issuer, email, createdAt: timestampFromDate(row.created_at) };
}
