import { DeadLetterService, NotificationService } from "#gen/commerce/notification/v1/notification_pb.ts";
import { serve } from "../../platform/call.ts";
import { str } from "../../platform/config.ts";
import { createDeadLetterRpc } from "../../platform/events/dead-letters.ts";
import { keepPruning } from "../../platform/keep-pruning.ts";
import { defineRole } from "../../platform/role.ts";
import type { ChannelProvider } from "./channel.ts";
import { createComposer } from "./compose-mail.ts";
import { createConsumers } from "./consume-events.ts";
import type { LinkPurpose } from "./delivery.ts";
import { CHANNELS } from "./delivery.ts";
import { mailboxProvider } from "./email-mailbox.ts";
import type { Language } from "./locale.ts";
import { languages } from "./locale.ts";
import type { Sender, SmtpServer } from "./mail-config.ts";
import { mailFrom, mailUrl, pageUrl, parseSender } from "./mail-config.ts";
import { recipientPeer } from "./peers.ts";
import { notificationRoutes } from "./routes.ts";
import { createNotificationRpc } from "./rpc.ts";
import type { NotificationTables } from "./schema.ts";
import { CONCURRENT_ATTEMPTS, startSender } from "./send-deliveries.ts";
import { pruneDeliveries } from "./store.ts";
import { issueUnsubscribeToken } from "./unsubscribe-token.ts";

/** Milliseconds between runs. */
const PRUNE_EVERY_MS = 3_600_000;

/** Mails, and whatever else tells users of what happens: from events to deliveries, and out. */
export default defineRole({
  config: {
    MAIL_URL: mailUrl({
      default: undefined,
      desc: "The SMTP server, with TLS by smtps:// or STARTTLS; empty: mails wait, and a shop that is tried out shows them on a page",
      example: "smtp://user:password@host:587",
    }),
    MAIL_FROM: mailFrom({
      default: parseSender("Shop <shop@localhost>"),
      desc: "Whom mails come from; empty: Shop <shop@localhost>",
      example: "Shop <shop@example.com>",
    }),
    SHOP_NAME: str({ default: "Shop", desc: "What the shop calls itself in mails" }),
    MAIL_LOCALE: str({
      choices: languages,
      default: "en",
      desc: `The language of mails to users whose own is not known, or has no texts: ${languages.join(", ")}`,
    }),
    CONFIRM_EMAIL_URL: pageUrl({
      default: undefined,
      desc: "The page that confirms an email by the token behind the #; empty: the shop's own",
      example: "https://shop.example.com/confirm",
    }),
    RESET_PASSWORD_URL: pageUrl({
      default: undefined,
      desc: "The page that sets a new password by the token behind the #; empty: the shop's own",
      example: "https://shop.example.com/reset",
    }),
  },
  async start({ config, database, peers, pages, key, publicUrl, wakeInbox, log, tryout }) {
    const db = database<NotificationTables>();
    const unsubscribeKey = key("unsubscribe");
    const smtp = config.MAIL_URL && (await smtpTo(config.MAIL_URL, config.MAIL_FROM));
    const email = smtp ?? (tryout ? mailboxProvider(db, config.MAIL_FROM) : undefined);
    if (!email) log.warn("MAIL_URL is not set: mails wait until it is");
    if (smtp && new URL(publicUrl()).hostname === "localhost")
      log.warn("links in mails lead to this machine: set PUBLIC_URL");

    const linkPages: Readonly<Record<LinkPurpose, () => string>> = {
      "confirm email": () => config.CONFIRM_EMAIL_URL ?? `${publicUrl()}/-/user/confirm-email`,
      "reset password": () => config.RESET_PASSWORD_URL ?? `${publicUrl()}/-/user/reset-password`,
    };
    const sender = startSender({
      db,
      recipients: recipientPeer(peers),
      providers: email ? [email] : [],
      channels: CHANNELS.filter((channel) => channel !== "email" || email),
      compose: createComposer(),
      shop: config.SHOP_NAME,
      language: config.MAIL_LOCALE as Language,
      // Behind the #: no server sees it, and no log has it.
      linkTo: (link, token) => `${linkPages[link]()}#${token}`,
      unsubscribeUrl: (wish) =>
        `${publicUrl()}/-/notification/unsubscribe?token=${issueUnsubscribeToken(unsubscribeKey, wish)}`,
      log,
    });
    const wake = () => {
      sender.wake();
    };
    const consumers = createConsumers(wake);
    const stopPruning = keepPruning("old deliveries", PRUNE_EVERY_MS, () => pruneDeliveries(db), log);
    return {
      services: [
        serve(NotificationService, createNotificationRpc({ db, pages, wake })),
        serve(DeadLetterService, createDeadLetterRpc({ db: database<unknown>(), pages, consumers, wake: wakeInbox })),
      ],
      routes: notificationRoutes({ db, hasMailbox: tryout && !smtp, unsubscribeKey, shop: config.SHOP_NAME }),
      consumers,
      async close() {
        await Promise.all([sender.close(), stopPruning()]);
        await email?.close();
      },
    };
  },
});

/** Loaded where mails go out. */
async function smtpTo(server: SmtpServer, sender: Sender): Promise<ChannelProvider> {
  const { smtpProvider } = await import("./email-smtp.ts");
  return smtpProvider(server, sender, CONCURRENT_ATTEMPTS);
}
