import type { Kysely } from "kysely";
import { LOCAL_REQUEST_HEADERS, isLocalRequest } from "../../platform/local-request.ts";
import type { RawRequest, RawResponse, RawRoute } from "../../platform/raw-routes.ts";
import { mailAlone, mailPage, mailboxPage, missingPage, rawMail } from "./mailbox-pages.ts";
import type { NotificationTables } from "./schema.ts";
import type { KeptMail } from "./store-mailbox.ts";
import { findMail, listMails } from "./store-mailbox.ts";
import { putPreferences } from "./store-preferences.ts";
import { badLinkPage, unsubscribePage, unsubscribedPage } from "./unsubscribe-pages.ts";
import type { Unsubscription } from "./unsubscribe-token.ts";
import { parseUnsubscribeToken } from "./unsubscribe-token.ts";

export interface RouteContext {
  readonly db: Kysely<NotificationTables>;
  /** Whether mails stay here, to be looked at. */
  readonly hasMailbox: boolean;
  readonly unsubscribeKey: Buffer;
  readonly shop: string;
}

const UUID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i;

/** The largest form, in bytes; the one of RFC 8058 has a single field. */
const FORM_BYTES = 4_096;

/** The mailbox of a shop that is tried out, and the page behind the link that ends mails of a topic. */
export function notificationRoutes({ db, hasMailbox, unsubscribeKey, shop }: RouteContext): readonly RawRoute[] {
  /** Mails have links that log in: they are for whoever sits at this machine. */
  const mailbox = (path: string, show: (request: RawRequest) => Promise<RawResponse>): RawRoute => ({
    method: "GET",
    path,
    maxBytes: 0,
    headers: LOCAL_REQUEST_HEADERS,
    access: "public",
    handle: (request) =>
      hasMailbox && isLocalRequest((name) => request.headers[name]) ? show(request) : Promise.resolve(missingPage()),
  });
  const showMail = async ({ params: { id = "" } }: RawRequest, show: (mail: KeptMail) => RawResponse) => {
    const mail = UUID.test(id) ? await findMail(db, id.toLowerCase()) : undefined;
    return mail ? show(mail) : missingPage();
  };

  /** A GET changes nothing: mail programs open links to look at them. */
  const unsubscribe = (method: "GET" | "POST", answer: (wish: Unsubscription) => Promise<RawResponse>): RawRoute => ({
    method,
    path: "/unsubscribe",
    maxBytes: FORM_BYTES,
    access: "public",
    handle: ({ query }) => {
      const wish = parseUnsubscribeToken(unsubscribeKey, query.get("token") ?? "");
      return wish ? answer(wish) : Promise.resolve(badLinkPage(shop));
    },
  });

  return [
    mailbox("/mailbox", async () => mailboxPage(await listMails(db))),
    mailbox("/mailbox/:id", (request) => showMail(request, mailPage)),
    mailbox("/mailbox/:id/html", (request) => showMail(request, mailAlone)),
    mailbox("/mailbox/:id/raw", (request) => showMail(request, rawMail)),
    unsubscribe("GET", (wish) => Promise.resolve(unsubscribePage(shop, wish))),
    unsubscribe("POST", async (wish) => {
      await putPreferences(db, wish.userId, [{ topic: wish.topic, channel: wish.channel, enabled: false }]);
      return unsubscribedPage(shop, wish);
    }),
  ];
}
