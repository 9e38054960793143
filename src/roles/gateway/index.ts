import { hostname } from "node:os";
import { GatewayService } from "#gen/commerce/gateway/v1/gateway_pb.ts";
import { serve } from "../../platform/call.ts";
import { str } from "../../platform/config.ts";
import { newId } from "../../platform/id.ts";
import { defineRole } from "../../platform/role.ts";
import { createApiKeys } from "./api-keys.ts";
import { auditCalls } from "./audit-calls.ts";
import { emptyChain } from "./audit-chain.ts";
import { createAudit } from "./audit.ts";
import { forwardService } from "./forward.ts";
import { createIdentify } from "./identify.ts";
import { userPeer } from "./peers.ts";
import { createRateLimits } from "./rate-limits.ts";
import { followRevocations } from "./revocations.ts";
import { createGatewayRpc } from "./rpc.ts";
import type { GatewayTables } from "./schema.ts";
import { createSigningKeys } from "./signing-keys.ts";
import { appendAudit } from "./store-audit.ts";
import { refuseOthersLogin } from "./tryout.ts";
import { findLiveApiKeys, updateLastUses } from "./store.ts";

/** On which the revocation of an API key is told to the other gateways: its id. */
const KEYS_CHANNEL = "api-key-revoked";
/** On which the user role tells which sessions have ended: their ids, with commas. */
const SESSIONS_CHANNEL = "sessions-ended";

/**
 * The door for clients outside. No business rules: it says who calls, serves what the other roles expose, by their
 * descriptors, and records what may change something.
 */
export default defineRole({
  config: {
    RATE_LIMITS: str({
      choices: ["all", "others", "off"],
      default: undefined,
      desc: "Whose calls are limited in number: all, others (all but those from this machine), off; empty: others where the shop is tried out on its own Postgres, else all",
      example: "all",
    }),
  },
  start({ config, tryout, database, broadcast, others, peers, pages, clock, log, stopping }) {
    const db = database<GatewayTables>();
    const rates = config.RATE_LIMITS ?? (tryout ? "others" : "all");
    const limitRate = rates === "off" ? undefined : createRateLimits({ loopback: rates === "all" });
    const user = userPeer(peers);
    const keys = createSigningKeys(() => user.listSigningKeys());
    const revocations = followRevocations({
      watch: (after, signal) => user.watchRevocations(after, signal),
      log,
      stopping,
    });
    const apiKeys = createApiKeys({
      read: (ids) => findLiveApiKeys(db, ids),
      writeUses: (uses) => updateLastUses(db, uses),
      log,
    });
    // What is revoked elsewhere ends here at once; that it ends within a second does not hang on these hints.
    const hints = [
      broadcast.listen(KEYS_CHANNEL, (body) => {
        apiKeys.revoked(Buffer.from(body).toString());
      }),
      broadcast.listen(SESSIONS_CHANNEL, (body) => {
        revocations.hint(Buffer.from(body).toString().split(","));
      }),
    ];
    const chain = emptyChain(newId(), `${hostname()}:${String(process.pid)}`);
    const revoked = (id: string) => {
      apiKeys.revoked(id);
      broadcast.send(KEYS_CHANNEL, Buffer.from(id));
    };
    const audit = createAudit({ chain, write: (entries) => appendAudit(db, chain, entries), log });
    return {
      services: [
        ...Object.entries(others).flatMap(([role, { services }]) =>
          services.map((service) => forwardService(service, peers.outermost(role))),
        ),
        serve(GatewayService, createGatewayRpc({ db, pages, clock, apiKeys: { revoked } })),
      ],
      identify: createIdentify({ keys, revocations, apiKeys, now: () => clock.now().getTime() }),
      admit: async (call) => {
        if (tryout) refuseOthersLogin(call);
        await limitRate?.(call);
      },
      observe: auditCalls({ audit, clock }),
      async close() {
        await Promise.all(hints.map((hint) => hint.close()));
        await Promise.all([revocations.close(), apiKeys.close(), audit.close()]);
      },
    };
  },
});
