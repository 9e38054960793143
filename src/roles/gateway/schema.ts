import type { JSONColumnType } from "kysely";
import type { WithIdempotencyKeys } from "../../platform/idempotency.ts";

export interface ApiKeys {
  id: string;
  name: string;
  /** In alphabetical order. */
  permissions: readonly string[];
  /** SHA-256 of the secret. */
  secret_hash: Buffer;
  /** A subject's key. */
  created_by: string;
  created_at: Date;
  expires_at: Date | null;
  revoked_at: Date | null;
  last_used_at: Date | null;
}

export interface AuditChains {
  id: string;
  /** The process that writes it: host and process id. */
  gateway: string;
  /** Of its last entry, like the hash. */
  position: bigint;
  hash: Buffer;
}

export interface AuditEntries {
  chain: string;
  /** From 1, without gaps. */
  position: bigint;
  occurred_at: Date;
  subject: string;
  method: string;
  request_id: string;
  client_address: string | null;
  phase: "intent" | "outcome";
  /** Null of an intent. */
  code: string | null;
  reason: string | null;
  resource_ids: JSONColumnType<Readonly<Record<string, string>>>;
  /** Messages of a stream. */
  received: bigint | null;
  sent: bigint | null;
  hash: Buffer;
}

export interface GatewayTables extends WithIdempotencyKeys {
  api_keys: ApiKeys;
  audit_chains: AuditChains;
  audit_entries: AuditEntries;
}
