import { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { serve } from "../../platform/call.ts";
import { createOnce } from "../../platform/idempotency.ts";
import { keepPruning } from "../../platform/keep-pruning.ts";
import { defineRole } from "../../platform/role.ts";
import { UserEventSchema } from "#gen/commerce/user/v1/events_pb.ts";
import { addSamples, lockSamplesOut } from "./add-samples.ts";
import { announceUsers } from "./events.ts";
import { keepSigningKeys } from "./keep-signing-keys.ts";
import { openIdProviders, openIdRedirectUrl } from "./openid-config.ts";
import { openIdProvider } from "./openid-provider.ts";
import { createPasswords } from "./password-hashing.ts";
import { PRUNE_EVERY_MS, pruneAccounts } from "./prune-accounts.ts";
import { keepPasswordResets } from "./request-password-reset.ts";
import { CALLBACK_PATH, routes } from "./routes.ts";
import { createAuthRpc } from "./rpc-auth.ts";
import { createUserRpc } from "./rpc.ts";
import type { UserTables } from "./schema.ts";
import { REVOCATION_CHANNEL } from "./store-sessions.ts";

/** Users: their accounts, passwords, sessions and addresses, and the tokens that prove them. */
export default defineRole({
  config: {
    OPENID_PROVIDERS: openIdProviders({
      default: undefined,
      desc: 'Where users may log in too, JSON: {"google":{"label":"Google","issuer":"https://accounts.google.com","client_id":"…","client_secret":"…"}}; also scopes, client_auth',
    }),
    OPENID_REDIRECT_URL: openIdRedirectUrl({
      default: undefined,
      desc: "The page that providers send browsers back to, as it is registered there; empty: one of the shop that shows what came",
      example: "https://shop.example.com/logged-in",
    }),
  },
  start({ config, database, listen, outbox, broadcast, pages, clock, key, log, stopping, tryout, publicUrl }) {
    const db = database<UserTables>();
    const once = createOnce(db);
    const passwords = createPasswords();
    const signingKeys = keepSigningKeys({ db, clock, secret: key("signing keys"), log });
    const announce = announceUsers(outbox(UserEventSchema), broadcast);
    const resets = keepPasswordResets({ db, clock, announce, log });
    const users = createUserRpc({ db, once, pages, clock, passwords, claimSecret: key("idempotency"), announce });
    const redirectUrl = () => config.OPENID_REDIRECT_URL ?? `${publicUrl()}/-/user${CALLBACK_PATH}`;
    const providers = new Map(
      config.OPENID_PROVIDERS?.map((one) => [one.name, openIdProvider(one, { redirectUrl, clock, log })]),
    );
    const auth = createAuthRpc({
      db,
      once,
      clock,
      passwords,
      signingKeys,
      refreshSecret: key("refresh tokens"),
      mailSecret: key("mail tokens"),
      loginSecret: key("login tokens"),
      providers,
      announce,
      resets,
      notifications: listen(REVOCATION_CHANNEL),
      stopping,
    });
    const stopPruning = keepPruning(
      "sessions, counts of tries and login tokens",
      PRUNE_EVERY_MS,
      () => pruneAccounts({ db, clock }),
      log,
    );
    return {
      services: [serve(UserService, users), serve(AuthService, auth)],
      routes,
      // Where others than this machine come in, an account whose password everybody knows must not be.
      addSamples: () => (tryout ? addSamples : lockSamplesOut)(db, passwords, clock, announce),
      async close() {
        await Promise.all([resets.close(), stopPruning()]);
      },
    };
  },
});
