import { create } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Kysely } from "kysely";
import type { ApiKey, AuditEntry, GatewayService } from "#gen/commerce/gateway/v1/gateway_pb.ts";
import {
  ApiKeySchema,
  AuditEntrySchema,
  AuditPhase,
  ListApiKeysRequestSchema,
  ListAuditEntriesRequestSchema,
} from "#gen/commerce/gateway/v1/gateway_pb.ts";
import type { Handlers, Subject } from "../../platform/call.ts";
import { subjectKey } from "../../platform/call.ts";
import type { Clock } from "../../platform/clock.ts";
import { errors, invalidRequest } from "../../platform/errors.ts";
import { newId } from "../../platform/id.ts";
import type { Cursor, PageTokens } from "../../platform/page.ts";
import { hashOfSecret, newSecret } from "./api-key-secret.ts";
import type { ApiKeys } from "./api-keys.ts";
import type { GatewayTables } from "./schema.ts";
import type { AuditRow } from "./store-audit.ts";
import { listAuditEntries } from "./store-audit.ts";
import type { ApiKeyRow } from "./store.ts";
import { insertApiKey, listApiKeys, revokeApiKey } from "./store.ts";

export interface GatewayRpcOptions {
  readonly db: Kysely<GatewayTables>;
  readonly pages: PageTokens;
  readonly clock: Clock;
  readonly apiKeys: Pick<ApiKeys, "revoked">;
}

export function createGatewayRpc({ db, pages, clock, apiKeys }: GatewayRpcOptions): Handlers<typeof GatewayService> {
  return {
    async createApiKey(request, { subject }) {
      const now = clock.now();
      const expiresAt = request.expiresAt && toDate(request.expiresAt);
      if (expiresAt && expiresAt <= now) {
        throw invalidRequest({ field: "expires_at", description: "must be a time to come" });
      }
      checkGrants(subject, request.permissions);
      const id = newId();
      const secret = newSecret(id);
      const key: ApiKeyRow = {
        id,
        name: request.name,
        permissions: [...request.permissions].sort(),
        secret_hash: hashOfSecret(secret),
        created_by: subjectKey(subject),
        created_at: now,
        expires_at: expiresAt ?? null,
        revoked_at: null,
        last_used_at: null,
      };
      await insertApiKey(db, key);
      return { apiKey: keyToProto(key), secret };
    },

    async listApiKeys(request, call) {
      const page = pages.open({
        call,
        schema: ListApiKeysRequestSchema,
        request,
        token: request.pageToken,
        tokenField: "page_token",
        size: request.pageSize,
        omit: ["pageToken", "pageSize"],
      });
      const keys = await listApiKeys(db, page.after?.[0], page.limit, call.signal);
      const { rows, nextPageToken } = page.cut(keys, (last) => [last.id]);
      return { apiKeys: rows.map(keyToProto), nextPageToken };
    },

    async revokeApiKey(request) {
      const key = await revokeApiKey(db, request.id.toLowerCase(), clock.now());
      apiKeys.revoked(key.id);
      return { apiKey: keyToProto(key) };
    },

    async listAuditEntries(request, call) {
      const page = pages.open({
        call,
        schema: ListAuditEntriesRequestSchema,
        request,
        token: request.pageToken,
        tokenField: "page_token",
        size: request.pageSize,
        omit: ["pageToken", "pageSize"],
      });
      const filter = {
        subject: request.subject,
        method: request.method,
        requestId: request.requestId,
        since: request.since && toDate(request.since),
        before: request.before && toDate(request.before),
      };
      const entries = await listAuditEntries(db, filter, page.after && placeOf(page.after), page.limit, call.signal);
      const { rows, nextPageToken } = page.cut(entries, cursorOf);
      return { entries: rows.map(entryToProto), nextPageToken };
    },
  };
}

/** Nobody gives what they do not have, and a machine nothing: its stolen key could outlive its end. */
function checkGrants(subject: Subject, permissions: readonly string[]): void {
  const isHeld = subject.kind === "user" && permissions.every((permission) => subject.permissions.includes(permission));
  if (!isHeld) throw errors.ACCESS_DENIED();
}

/** Whole milliseconds, rounded up: rows have no finer ones. */
function toDate({ seconds, nanos }: Timestamp): Date {
  return new Date(Number(seconds) * 1_000 + Math.ceil(nanos / 1_000_000));
}

function cursorOf({ occurred_at, chain, position }: AuditRow): Cursor {
  return [String(occurred_at.getTime()), chain, String(position)];
}

function placeOf([at, chain = "", position = ""]: Cursor) {
  return { at: new Date(Number(at)), chain, position: BigInt(position) };
}

function keyToProto(key: ApiKeyRow): ApiKey {
  return create(ApiKeySchema, {
    id: key.id,
    name: key.name,
    permissions: [...key.permissions],
    createdBy: key.created_by,
    createdAt: timestampFromDate(key.created_at),
    ...(key.expires_at && { expiresAt: timestampFromDate(key.expires_at) }),
    ...(key.revoked_at && { revokedAt: timestampFromDate(key.revoked_at) }),
    ...(key.last_used_at && { lastUsedAt: timestampFromDate(key.last_used_at) }),
  });
}

function entryToProto(entry: AuditRow): AuditEntry {
  return create(AuditEntrySchema, {
    chain: entry.chain,
    position: entry.position,
    gateway: entry.gateway,
    occurredAt: timestampFromDate(entry.occurred_at),
    subject: entry.subject,
    method: entry.method,
    requestId: entry.request_id,
    clientAddress: entry.client_address ?? "",
    phase: entry.phase === "intent" ? AuditPhase.INTENT : AuditPhase.OUTCOME,
    code: entry.code ?? "",
    reason: entry.reason ?? "",
    resourceIds: entry.resource_ids,
    receivedMessages: entry.received ?? 0n,
    sentMessages: entry.sent ?? 0n,
    hash: entry.hash,
  });
}
