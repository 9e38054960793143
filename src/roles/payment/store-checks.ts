import type { Kysely } from "kysely";
import { sql } from "kysely";
import type { Problem } from "./payment.ts";
import { afterMs } from "./store.ts";
import type { Payments, PaymentTables } from "./schema.ts";

type Db = Kysely<PaymentTables>;

const WRONG: Problem = "PAID_WITHOUT_ORDER";

/** A payment whose order is to be looked at. */
export interface DueCheck extends Pick<Payments, "id" | "state"> {
  readonly orderId: string;
  readonly problem: Problem | "";
  readonly capturedMinor: bigint;
  readonly refundedMinor: bigint;
  readonly refundingMinor: bigint;
  readonly ageMs: number;
}

/** Takes payments that hold money and whose check is due, so that no other process checks them for a while. */
export async function claimChecks(db: Db, most: number, leaseMs: number): Promise<DueCheck[]> {
  const { rows } = await sql<DueCheck>`
    update payments set check_at = ${afterMs(leaseMs)}
    where id = any (array(
      select id from payments where state in ('AUTHORIZED', 'CAPTURED') and check_at <= now()
      order by check_at limit ${most} for update skip locked
    ))
    returning id, order_id as "orderId", state, problem, captured_minor as "capturedMinor",
      refunded_minor as "refundedMinor", refunding_minor as "refundingMinor",
      (extract(epoch from clock_timestamp() - created_at) * 1000)::float8 as "ageMs"
  `.execute(db);
  return rows;
}

/** Notes the end of a check: whether the payment has an order, and when to look again. Answers whether it is newly wrong. */
export async function endCheck(db: Db, id: string, isWrong: boolean, againMs: number): Promise<boolean> {
  await db
    .updateTable("payments")
    .set({ check_at: afterMs(againMs) })
    .where("id", "=", id)
    .execute();
  // Another problem stays: this one may follow from it. One that holds no money any more is right again.
  let update = db.updateTable("payments").where("id", "=", id);
  update = isWrong
    ? update.set({ problem: WRONG }).where("problem", "=", "").where("state", "in", ["AUTHORIZED", "CAPTURED"])
    : update.set({ problem: "" }).where("problem", "=", WRONG);
  const { numUpdatedRows } = await update.executeTakeFirst();
  return isWrong && numUpdatedRows > 0n;
}
