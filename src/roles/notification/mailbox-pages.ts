import type { Html } from "../../platform/html-page.ts";
import { PAGE_HEADERS, html, htmlPage, smallPage } from "../../platform/html-page.ts";
import type { RawResponse } from "../../platform/raw-routes.ts";
import type { KeptMail, MailboxLine } from "./store-mailbox.ts";

/** Seconds between looks for new mails. */
const REFRESH_S = 3;

/** What a mail may do that is shown: its links lead to pages that may do anything, and it itself may not. */
const MAY = "allow-popups allow-popups-to-escape-sandbox";

/** What the mailbox shows: the newest first. */
export function mailboxPage(mails: readonly MailboxLine[]): RawResponse {
  const list = html`<ul class="card">${mails.map(lineOf)}</ul>`;
  const none = html`<div class="card pad"><p>No mail yet. Create a user or an order, and watch.</p></div>`;
  return htmlPage(200, {
    title: `Mailbox (${String(mails.length)})`,
    refresh: REFRESH_S,
    body: html`<main>
  <h1>Mailbox</h1>
  <p>What this shop would send. It is tried out, so nothing leaves this machine. The page reads itself anew.</p>
  ${mails.length === 0 ? none : list}
</main>`,
  });
}

function lineOf({ id, subject, recipient, created_at: at }: MailboxLine): Html {
  return html`
    <li><a href="mailbox/${id}"><span class="subject">${subject}</span><span class="meta"><span>${recipient}</span>${time(at)}</span></a></li>`;
}

function time(at: Date): Html {
  const iso = at.toISOString();
  return html`<time datetime="${iso}">${iso.slice(0, 19).replace("T", " ")} UTC</time>`;
}

/** One mail as its reader would see it. Nothing in it runs, and its links open beside it. */
export function mailPage(mail: KeptMail): RawResponse {
  return htmlPage(200, {
    title: mail.subject,
    showsMail: true,
    body: html`<main>
  <p><a href="../mailbox">All mails</a></p>
  <h1>${mail.subject}</h1>
  <dl>
    <dt>To</dt><dd>${mail.recipient}</dd>
    <dt>From</dt><dd>${mail.sender}</dd>
    <dt>Date</dt><dd>${time(mail.createdAt)}</dd>
  </dl>
  <div class="card">
    <iframe title="The mail" sandbox="${MAY}" srcdoc="${withLinksBeside(mail.html)}"></iframe>
  </div>
  <details>
    <summary>As plain text</summary>
    <pre class="card">${mail.text}</pre>
  </details>
  <p><a href="${mail.id}/html">The mail alone</a> · <a href="${mail.id}/raw">Headers and text</a></p>
</main>`,
  });
}

/** The mail's HTML part as a page of its own: the width of the window is its width. */
export function mailAlone({ html: mail }: KeptMail): RawResponse {
  const policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
  return {
    status: 200,
    headers: { ...PAGE_HEADERS, "content-security-policy": `sandbox ${MAY}; ${policy}` },
    body: withLinksBeside(mail),
  };
}

function withLinksBeside(mail: string): string {
  return mail.replace(/<head>/i, '<head><base target="_blank">');
}

/** The mail without its HTML part, as text. */
export function rawMail(mail: KeptMail): RawResponse {
  const headers = {
    "Message-ID": mail.messageId,
    From: mail.sender,
    To: mail.recipient,
    Subject: mail.subject,
    Date: mail.createdAt.toUTCString(),
    ...mail.headers,
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return {
    status: 200,
    headers: {
      ...PAGE_HEADERS,
      "content-type": "text/plain; charset=utf-8",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    },
    body: `${lines.join("\n")}\n\n${mail.text}`,
  };
}

/** Also where there is a mailbox, but not for whoever asks. */
export function missingPage(): RawResponse {
  return smallPage(404, "Nothing here", html`<p>There is no page at this address.</p>`);
}
