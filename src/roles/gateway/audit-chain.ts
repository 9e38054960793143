import { createHash } from "node:crypto";

/** What an audit entry says, before it has its place in a chain. */
export interface AuditRecord {
  readonly occurred_at: Date;
  /** A subject's key; empty for nobody. */
  readonly subject: string;
  readonly method: string;
  readonly request_id: string;
  readonly client_address: string | null;
  readonly phase: "intent" | "outcome";
  /** Null of an intent, like the reason. */
  readonly code: string | null;
  readonly reason: string | null;
  readonly resource_ids: Readonly<Record<string, string>>;
  /** Messages of a stream; null of other calls. */
  readonly received: bigint | null;
  readonly sent: bigint | null;
}

/** An entry in its place, as it is stored. */
export interface ChainedRecord extends AuditRecord {
  readonly position: bigint;
  readonly hash: Buffer;
}

/** A chain: who writes it, and its last entry. */
export interface ChainHead {
  readonly id: string;
  readonly gateway: string;
  readonly position: bigint;
  readonly hash: Buffer;
}

/** The head of a chain that has no entry yet. Its hash is that of the chain's names: they cannot be exchanged either. */
export function emptyChain(id: string, gateway: string): ChainHead {
  return { id, gateway, position: 0n, hash: sha256(Buffer.alloc(0), JSON.stringify([id, gateway])) };
}

/** The record as the next of the chain after `head`. */
export function chained(head: Pick<ChainHead, "position" | "hash">, record: AuditRecord): ChainedRecord {
  const position = head.position + 1n;
  return { ...record, position, hash: sha256(head.hash, canonical(position, record)) };
}

/**
 * An entry as the text that is hashed: a JSON array without spaces of position, time in milliseconds, subject, method,
 * request id, client address, phase, code, reason, ids as pairs in the order of their fields, messages received and
 * sent. Whole numbers of 64 bits are texts.
 */
function canonical(position: bigint, record: AuditRecord): string {
  const ids = Object.entries(record.resource_ids).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return JSON.stringify([
    String(position),
    record.occurred_at.getTime(),
    record.subject,
    record.method,
    record.request_id,
    record.client_address,
    record.phase,
    record.code,
    record.reason,
    ids,
    record.received === null ? null : String(record.received),
    record.sent === null ? null : String(record.sent),
  ]);
}

function sha256(previous: Buffer, text: string): Buffer {
  return createHash("sha256").update(previous).update(text).digest();
}

/** What is wrong with a chain, at its first entry that is. */
export interface BrokenChain {
  readonly chain: string;
  readonly position: bigint;
  readonly problem: string;
}

/** Verifies a chain: its entries one after the other, in the order of their positions, then its end. */
export interface ChainVerifier {
  /** Undefined as long as all is well. */
  next(entry: ChainedRecord): BrokenChain | undefined;
  end(): BrokenChain | undefined;
}

export function verifyChain(head: ChainHead): ChainVerifier {
  let last: Pick<ChainHead, "position" | "hash"> = emptyChain(head.id, head.gateway);
  const broken = (position: bigint, problem: string): BrokenChain => ({ chain: head.id, position, problem });

  return {
    next(entry) {
      const expected = chained(last, entry);
      if (entry.position !== expected.position) {
        return entry.position > expected.position
          ? broken(expected.position, "is missing")
          : broken(entry.position, "is there twice");
      }
      if (!entry.hash.equals(expected.hash)) {
        return broken(
          entry.position,
          "was changed, exchanged or put in: its hash is not that of its contents and of the entry before",
        );
      }
      last = entry;
      return undefined;
    },
    end() {
      if (last.position < head.position) return broken(last.position + 1n, "is missing, at the end of the chain");
      if (last.position > head.position) return broken(head.position + 1n, "was put in, after the end of the chain");
      return last.hash.equals(head.hash) ? undefined : broken(last.position, "is not the one that was last written");
    },
  };
}
