import type { Kysely } from "kysely";
import type { ChannelProvider } from "./channel.ts";
import { headersOf, messageIdOf } from "./email.ts";
import type { Sender } from "./mail-config.ts";
import type { NotificationTables } from "./schema.ts";
import { insertMail, pruneMailbox } from "./store-mailbox.ts";

/** Mails are not sent: a page shows them. For a shop that is tried out. */
export function mailboxProvider(db: Kysely<NotificationTables>, sender: Sender): ChannelProvider {
  return {
    channel: "email",
    async send(message) {
      await insertMail(db, {
        id: message.id,
        messageId: messageIdOf(message, sender),
        sender: written(sender),
        recipient: written(message.to),
        subject: message.subject,
        html: message.html,
        text: message.text,
        headers: headersOf(message),
      });
      await pruneMailbox(db);
    },
    close: () => Promise.resolve(),
  };
}

function written({ name, address }: { readonly name: string; readonly address: string }): string {
  return name === "" ? address : `${name} <${address}>`;
}
