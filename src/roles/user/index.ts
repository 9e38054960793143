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
import { createPasswords } from "./password-hashing.ts";
import { PRUNE_EVERY_MS, pruneAccounts } from "./prune-accounts.ts";
import { keepPasswordResets } from "./request-password-reset.ts";
import { mailRoutes } from "./routes.ts";
import { createAuthRpc } from "./rpc-auth.ts";
import { createUserRpc } from "./rpc.ts";
import type { UserTables } from "./schema.ts";
import { REVOCATION_CHANNEL } from "./store-sessions.ts";

/** Users: their accounts, passwords, sessions and addresses, and the tokens that prove them. */
export default defineRole({
  config: {},
  start({ database, listen, outbox, broadcast, pages, clock, key, log, stopping, tryout }) {
    const db = database<UserTables>();
    const once = createOnce(db);
    const passwords = createPasswords();
    const signingKeys = keepSigningKeys({ db, clock, secret: key("signing keys"), log });
    const announce = announceUsers(outbox(UserEventSchema), broadcast);
    const resets = keepPasswordResets({ db, clock, announce, log });
    const users = createUserRpc({ db, once, pages, clock, passwords, claimSecret: key("idempotency"), announce });
    const auth = createAuthRpc({
      db,
      once,
      clock,
      passwords,
      signingKeys,
      refreshSecret: key("refresh tokens"),
      mailSecret: key("mail tokens"),
      announce,
      resets,
      notifications: listen(REVOCATION_CHANNEL),
      stopping,
    });
    const stopPruning = keepPruning(
      "sessions and counts of tries",
      PRUNE_EVERY_MS,
      () => pruneAccounts({ db, clock }),
      log,
    );
    return {
      services: [serve(UserService, users), serve(AuthService, auth)],
      routes: mailRoutes,
      // Where others than this machine come in, an account whose password everybody knows must not be.
      addSamples: () => (tryout ? addSamples : lockSamplesOut)(db, passwords, clock, announce),
      async close() {
        await Promise.all([resets.close(), stopPruning()]);
      },
    };
  },
});
