import type { Kysely } from "kysely";
import { sql } from "kysely";

/** Double entry: written once, never changed, and each transaction sums to zero; the database itself refuses the rest. */
export async function up(db: Kysely<unknown>): Promise<void> {
  // At most one for each operation: nothing is booked twice.
  await sql`
    create table ledger_transactions (
      id uuid not null constraint ledger_transactions_pkey primary key,
      kind text not null constraint ledger_transactions_kind_check check (kind in ('CAPTURE', 'REFUND')),
      payment_id uuid not null constraint ledger_transactions_payment_fkey references payments (id),
      order_id uuid not null,
      operation_id uuid not null constraint ledger_transactions_operation_key unique
        constraint ledger_transactions_operation_fkey references payment_operations (id),
      occurred_at timestamptz(3) not null
    )
  `.execute(db);
  await sql`create index ledger_transactions_order_idx on ledger_transactions (order_id, id desc)`.execute(db);

  await sql`
    create table ledger_entries (
      transaction_id uuid not null constraint ledger_entries_transaction_fkey references ledger_transactions (id),
      account text not null,
      currency text not null constraint ledger_entries_currency_check check (currency ~ '^[A-Z]{3}$'),
      amount_minor bigint not null constraint ledger_entries_amount_check check (amount_minor <> 0),
      constraint ledger_entries_pkey primary key (transaction_id, account, currency)
    )
  `.execute(db);

  await sql`
    create function refuse_ledger_change() returns trigger language plpgsql as $$
    begin
      raise exception 'the ledger is append-only' using errcode = 'restrict_violation', table = tg_table_name;
    end $$
  `.execute(db);
  for (const table of ["ledger_transactions", "ledger_entries"]) {
    await sql`
      create trigger ${sql.ref(`${table}_append_only`)} before update or delete on ${sql.table(table)}
      for each row execute function refuse_ledger_change()
    `.execute(db);
    await sql`
      create trigger ${sql.ref(`${table}_no_truncate`)} before truncate on ${sql.table(table)}
      for each statement execute function refuse_ledger_change()
    `.execute(db);
  }

  // At the commit: entries may be written one after the other, and an entry added later counts too.
  await sql`
    create function check_ledger_balance() returns trigger language plpgsql as $$
    declare
      booked uuid := coalesce(to_jsonb(new) ->> 'transaction_id', to_jsonb(new) ->> 'id');
    begin
      if not exists (select from ledger_entries where transaction_id = booked) or exists (
        select from ledger_entries where transaction_id = booked group by currency having sum(amount_minor) <> 0
      ) then
        raise exception 'ledger transaction % does not sum to zero', booked
          using errcode = 'check_violation', constraint = 'ledger_balance', table = tg_table_name;
      end if;
      return null;
    end $$
  `.execute(db);
  for (const table of ["ledger_transactions", "ledger_entries"]) {
    await sql`
      create constraint trigger ${sql.ref(`${table}_balance`)} after insert on ${sql.table(table)}
      deferrable initially deferred for each row execute function check_ledger_balance()
    `.execute(db);
  }
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table ledger_entries, ledger_transactions`.execute(db);
  await sql`drop function check_ledger_balance(), refuse_ledger_change()`.execute(db);
}
