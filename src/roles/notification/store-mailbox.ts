import type { Kysely } from "kysely";
import { sql } from "kysely";
import type { NotificationTables } from "./schema.ts";

type Db = Kysely<NotificationTables>;

/** Mails that the mailbox keeps. */
const KEPT = 500;

export interface MailboxMail {
  /** Of the delivery. */
  readonly id: string;
  readonly messageId: string;
  readonly sender: string;
  readonly recipient: string;
  readonly subject: string;
  readonly html: string;
  readonly text: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** Puts a mail in; the same one again changes nothing. */
export async function insertMail(db: Db, mail: MailboxMail): Promise<void> {
  await db
    .insertInto("mailbox")
    .values({
      id: mail.id,
      message_id: mail.messageId,
      sender: mail.sender,
      recipient: mail.recipient,
      subject: mail.subject,
      html: mail.html,
      body: mail.text,
      headers: JSON.stringify(mail.headers),
      created_at: sql<Date>`now()`,
    })
    .onConflict((conflict) => conflict.constraint("mailbox_pkey").doNothing())
    .execute();
}

export type MailboxLine = Pick<MailboxMail, "id" | "recipient" | "subject"> & { readonly created_at: Date };

/** All of it, the newest first, without what the mails say. */
export function listMails(db: Db): Promise<MailboxLine[]> {
  return db
    .selectFrom("mailbox")
    .select(["id", "recipient", "subject", "created_at"])
    .orderBy("created_at", "desc")
    .orderBy("id", "desc")
    .limit(KEPT)
    .execute();
}

export interface KeptMail extends MailboxMail {
  readonly createdAt: Date;
}

/** Undefined where there is no such mail. */
export async function findMail(db: Db, id: string): Promise<KeptMail | undefined> {
  const row = await db.selectFrom("mailbox").selectAll().where("id", "=", id).executeTakeFirst();
  if (!row) return undefined;
  const { message_id: messageId, body: text, created_at: createdAt, ...mail } = row;
  return { ...mail, messageId, text, createdAt };
}

/** Forgets all but the newest five hundred. */
export async function pruneMailbox(db: Db): Promise<void> {
  await sql`
    delete from mailbox where (created_at, id) <= (
      select created_at, id from mailbox order by created_at desc, id desc offset ${KEPT} limit 1
    )
  `.execute(db);
}
