import { setTimeout as delay } from "node:timers/promises";
import type { Invariant, Violation } from "./check.ts";
import { need, pages } from "./orders.ts";

/** What seems to disagree is looked at again after so many milliseconds: one of the two may have been ahead. */
const AGAIN_MS = 2_000;

interface OwnFacts {
  readonly id: string;
  readonly state: string;
  readonly captured: string;
  readonly refunded: string;
  readonly open: boolean;
}

interface ProviderFacts {
  readonly payment_id: string;
  readonly payments: string;
  readonly live: string;
  readonly captured: string;
  readonly refunded: string;
}

/** The books of the sandbox agree with ours; those of other providers are compared by their own reports. */
export const providerInvariant: Invariant = {
  invariant: "I5",
  promise: "the provider's books agree: one charge for each payment, the same amounts",
  needs: ["payment", "sandbox"],
  async check(databases) {
    const [payment, sandbox] = [need(databases, "payment"), need(databases, "sandbox")];
    let checked = 0;
    const violations: Violation[] = [];
    const judge = async (ids: readonly string[]): Promise<{ id: string; problem: string }[]> => {
      const { rows: own } = await payment.query<OwnFacts>(
        `select id, state, captured_minor as captured, refunded_minor as refunded,
           exists (select from payment_operations where payment_id = payments.id and state = 'PENDING') as open
         from payments where id = any ($1::uuid[])`,
        [ids],
      );
      const { rows: theirs } = await sandbox.query<ProviderFacts>(
        `select payment_id, count(*) as payments,
           count(*) filter (where state in ('authorized', 'captured', 'requires_action')) as live,
           coalesce(sum(captured_minor), 0) as captured,
           coalesce(sum((select sum(amount_minor) from refunds where refunds.reference = payments.reference
             and state = 'succeeded')), 0) as refunded
         from payments where payment_id = any ($1::text[]) group by payment_id`,
        [ids],
      );
      const byId = new Map(theirs.map((row) => [row.payment_id, row]));
      return own.flatMap((row) => {
        const problem = row.open ? undefined : disagreement(row, byId.get(row.id));
        return problem === undefined ? [] : [{ id: row.id, problem }];
      });
    };
    const look = async (ids: readonly string[]) => {
      checked += ids.length;
      const first = await judge(ids);
      if (first.length === 0) return;
      await delay(AGAIN_MS);
      const still = await judge(first.map(({ id }) => id));
      violations.push(...still.map(({ id, problem }) => ({ about: `payment ${id}`, problem })));
    };
    const ours = "select id from payments where provider = 'sandbox' and id > $1 order by id";
    for await (const ids of pages(payment, ours)) await look(ids);
    const { rows: foreign } = await sandbox.query<{ reference: string; payment_id: string }>(
      "select reference, payment_id from payments where state in ('authorized', 'captured')",
    );
    const { rows: known } = await payment.query<{ id: string }>(
      "select id::text from payments where id::text = any ($1::text[])",
      [foreign.map((row) => row.payment_id)],
    );
    const ids = new Set(known.map(({ id }) => id));
    for (const { reference, payment_id: id } of foreign) {
      if (!ids.has(id))
        violations.push({ about: `the provider's payment ${reference}`, problem: `payment ${id} is not ours` });
    }
    return { checked, violations };
  },
};

function disagreement(own: OwnFacts, theirs: ProviderFacts | undefined): string | undefined {
  const { payments = "0", live = "0", captured = "0", refunded = "0" } = theirs ?? {};
  const isLive = ["AUTHORIZED", "CAPTURED", "REQUIRES_ACTION"].includes(own.state);
  if (Number(payments) > 1) return `the provider has ${payments} payments for it`;
  if (isLive !== (live === "1")) return `${own.state}, and the provider has ${live} live payments`;
  if (own.captured !== captured) return `captured ${own.captured}, at the provider ${captured}`;
  if (own.refunded !== refunded) return `refunded ${own.refunded}, at the provider ${refunded}`;
  return undefined;
}
