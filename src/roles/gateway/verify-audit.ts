import type { Kysely } from "kysely";
import { transaction } from "../../platform/database.ts";
import type { BrokenChain, ChainHead } from "./audit-chain.ts";
import { verifyChain } from "./audit-chain.ts";
import type { GatewayTables } from "./schema.ts";
import { listChainEntries, listChains, listStrayChains } from "./store-audit.ts";

/** Entries of one query. */
const PAGE = 1_000;

export interface AuditReport {
  /** The chains with their last entries: to be compared with what was noted elsewhere. */
  readonly chains: readonly ChainHead[];
  readonly entries: number;
  /** The first broken entry of each chain that has one. */
  readonly broken: readonly BrokenChain[];
}

/** Recomputes every chain, as of one moment: gateways may go on writing. */
export function verifyAudit(db: Kysely<GatewayTables>): Promise<AuditReport> {
  return transaction(
    db,
    async (trx) => {
      const chains = await listChains(trx);
      const strays = await listStrayChains(trx);
      const broken: BrokenChain[] = strays.map((chain) => ({ chain, position: 1n, problem: "is of an unknown chain" }));
      let entries = 0;
      for (const head of chains) {
        const found = await verifyOne(trx, head, (count) => (entries += count));
        if (found) broken.push(found);
      }
      return { chains, entries, broken };
    },
    { isolation: "repeatable read" },
  );
}

async function verifyOne(
  db: Kysely<GatewayTables>,
  head: ChainHead,
  onRead: (count: number) => void,
): Promise<BrokenChain | undefined> {
  const verifier = verifyChain(head);
  for (let after = 0n; ; ) {
    const page = await listChainEntries(db, head.id, after, PAGE);
    onRead(page.length);
    for (const entry of page) {
      const broken = verifier.next(entry);
      if (broken) return broken;
      after = entry.position;
    }
    if (page.length < PAGE) return verifier.end();
  }
}
