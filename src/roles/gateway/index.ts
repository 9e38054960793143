import { hostname } from "node:os";
import { GatewayService } from "#gen/commerce/gateway/v1/gateway_pb.ts";
import { serve } from "../../platform/call.ts";
import { str, wholeNumber } from "../../platform/config.ts";
import { newId } from "../../platform/id.ts";
import { defineRole } from "../../platform/role.ts";
import { admitCalls } from "./admit-calls.ts";
import { createApiKeys } from "./api-keys.ts";
import { auditCalls } from "./audit-calls.ts";
import { emptyChain } from "./audit-chain.ts";
import { createAudit } from "./audit.ts";
import { forwardService } from "./forward.ts";
import { createIdentify } from "./identify.ts";
import { userPeer } from "./peers.ts";
import type { Limited } from "./rate-limits.ts";
import { followRevocations } from "./revocations.ts";
import { createGatewayRpc } from "./rpc.ts";
import type { GatewayTables } from "./schema.ts";
import { createSigningKeys } from "./signing-keys.ts";
import { appendAudit } from "./store-audit.ts";
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
    STREAMS_PER_CALLER: wholeNumber(
      1,
      100_000,
    )({
      default: 20,
      desc: "Streams that one user, or one address without a login, may have open at once at each gateway; for whose RATE_LIMITS says",
    }),
    CALLS_AT_ONCE: wholeNumber(
      1,
      1_000_000,
    )({
      default: 1_000,
      desc: "Unary calls that each gateway carries out at once; more wait for up to a second, then they are OVERLOADED",
    }),
    CALLS_WAITING: wholeNumber(
      0,
      1_000_000,
    )({ default: 500, desc: "Unary calls that may wait so at each gateway; more are OVERLOADED at once" }),
  },
  start({ config, tryout, database, broadcast, others, peers, pages, clock, log, stopping }) {
    const db = database<GatewayTables>();
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
      admit: admitCalls({
        tryout,
        limited: (config.RATE_LIMITS as Limited | undefined) ?? (tryout ? "others" : "all"),
        streamsPerCaller: config.STREAMS_PER_CALLER,
        callsAtOnce: config.CALLS_AT_ONCE,
        callsWaiting: config.CALLS_WAITING,
      }),
      observe: auditCalls({ audit, clock }),
      async close() {
        await Promise.all(hints.map((hint) => hint.close()));
        await Promise.all([revocations.close(), apiKeys.close(), audit.close()]);
      },
    };
  },
});
