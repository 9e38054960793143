import type { Kysely, Selectable } from "kysely";
import { sql } from "kysely";
import { cancelledBy } from "../../platform/database.ts";
import type { ChainHead, ChainedRecord } from "./audit-chain.ts";
import type { AuditEntries, GatewayTables } from "./schema.ts";

/**
 * Adds entries to their chain, in one statement. It may be repeated where its outcome is unknown: what is there stays.
 */
export async function appendAudit(
  db: Kysely<GatewayTables>,
  { id, gateway }: Pick<ChainHead, "id" | "gateway">,
  entries: readonly ChainedRecord[],
): Promise<void> {
  const last = entries.at(-1);
  if (!last) return;
  const column = <K extends keyof ChainedRecord>(name: K) => entries.map((entry) => entry[name]);
  const ids = entries.map(({ resource_ids }) => JSON.stringify(resource_ids));
  await sql`
    with head as (
      insert into audit_chains as known (id, gateway, position, hash)
      values (${id}, ${gateway}, ${last.position}, ${last.hash})
      on conflict (id) do update set position = excluded.position, hash = excluded.hash
      where known.position < excluded.position
    )
    insert into audit_entries (chain, position, occurred_at, subject, method, request_id, client_address, phase, code,
      reason, resource_ids, received, sent, hash)
    select ${id}::uuid, entry.* from unnest(
      ${column("position")}::bigint[], ${column("occurred_at")}::timestamptz[], ${column("subject")}::text[],
      ${column("method")}::text[], ${column("request_id")}::text[], ${column("client_address")}::text[],
      ${column("phase")}::text[], ${column("code")}::text[], ${column("reason")}::text[], ${ids}::jsonb[],
      ${column("received")}::bigint[], ${column("sent")}::bigint[], ${column("hash")}::bytea[]
    ) as entry
    on conflict (chain, position) do nothing
  `.execute(db);
}

export interface AuditFilter {
  readonly subject: string;
  readonly method: string;
  readonly requestId: string;
  readonly since: Date | undefined;
  readonly before: Date | undefined;
}

/** An entry with the process that wrote it. */
export type AuditRow = Selectable<AuditEntries> & { readonly gateway: string };

/** Newest first, those before a place. Empty filters let all through. */
export function listAuditEntries(
  db: Kysely<GatewayTables>,
  { subject, method, requestId, since, before }: AuditFilter,
  place: { readonly at: Date; readonly chain: string; readonly position: bigint } | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<AuditRow[]> {
  let query = db
    .selectFrom("audit_entries as e")
    .innerJoin("audit_chains as c", "c.id", "e.chain")
    .selectAll("e")
    .select("c.gateway")
    .orderBy("e.occurred_at", "desc")
    .orderBy("e.chain", "desc")
    .orderBy("e.position", "desc")
    .limit(limit);
  if (subject !== "") query = query.where("e.subject", "=", subject);
  if (method !== "") query = query.where("e.method", "=", method);
  if (requestId !== "") query = query.where("e.request_id", "=", requestId);
  if (since) query = query.where("e.occurred_at", ">=", since);
  if (before) query = query.where("e.occurred_at", "<", before);
  if (place) {
    const { at, chain, position } = place;
    query = query.where(
      sql<boolean>`(e.occurred_at, e.chain, e.position) < (${at}::timestamptz, ${chain}::uuid, ${position}::bigint)`,
    );
  }
  return query.execute(cancelledBy(signal));
}

/** All chains, the oldest first. */
export function listChains(db: Kysely<GatewayTables>): Promise<ChainHead[]> {
  return db.selectFrom("audit_chains").selectAll().orderBy("id").execute();
}

/** Chains of entries that no row of `audit_chains` knows. */
export async function listStrayChains(db: Kysely<GatewayTables>): Promise<string[]> {
  const rows = await db
    .selectFrom("audit_entries as e")
    .leftJoin("audit_chains as c", "c.id", "e.chain")
    .where("c.id", "is", null)
    .select("e.chain")
    .distinct()
    .execute();
  return rows.map(({ chain }) => chain);
}

/** Entries of a chain in their order, those after a position. */
export function listChainEntries(
  db: Kysely<GatewayTables>,
  chain: string,
  after: bigint,
  limit: number,
): Promise<Selectable<AuditEntries>[]> {
  return db
    .selectFrom("audit_entries")
    .selectAll()
    .where("chain", "=", chain)
    .where("position", ">", after)
    .orderBy("position")
    .limit(limit)
    .execute();
}
