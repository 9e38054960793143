import { createTransport } from "nodemailer";
import type { ChannelProvider } from "./channel.ts";
import { Refused } from "./channel.ts";
import { headersOf, messageIdOf } from "./email.ts";
import type { Sender, SmtpServer } from "./mail-config.ts";

/** Milliseconds that a server may take to be reached, to greet, and to say anything at all afterwards. */
const CONNECT_MS = 10_000;
const SILENCE_MS = 20_000;

const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|::1)$/;

/** Mails by SMTP, over connections that are kept. */
export function smtpProvider(server: SmtpServer, sender: Sender, connections: number): ChannelProvider {
  const { host, port, secure, auth } = server;
  const transport = createTransport({
    pool: true,
    maxConnections: connections,
    // A connection that breaks ends the attempt: when the next one is made is ours to say.
    maxRequeues: 0,
    host,
    port,
    secure,
    // Without it somebody in between could take STARTTLS out, and then the password.
    requireTLS: !secure && auth !== undefined && !LOOPBACK.test(host),
    ...(auth && { auth }),
    connectionTimeout: CONNECT_MS,
    greetingTimeout: CONNECT_MS,
    dnsTimeout: CONNECT_MS,
    socketTimeout: SILENCE_MS,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  return {
    channel: "email",
    async send(message, signal) {
      const { address, name } = message.to;
      try {
        await transport.sendMail({
          messageId: messageIdOf(message, sender),
          from: { name: sender.name, address: sender.address },
          to: { name, address },
          // Said by itself, so that no name can add to it.
          envelope: { from: sender.address, to: [address] },
          subject: message.subject,
          text: message.text,
          html: message.html,
          headers: headersOf(message),
          signal,
        });
      } catch (error) {
        throw isFinal(error) ? new Refused(said(error), { cause: error }) : error;
      }
    },
    close() {
      transport.close();
      return Promise.resolve();
    },
  };
}

interface SmtpError extends Error {
  readonly code?: string;
  readonly command?: string;
  readonly responseCode?: number;
}

/**
 * Whether it is the recipient or the message that is refused for good. A 5xx to our login or our sender is for somebody
 * to mend who runs the shop, and no mail is lost meanwhile.
 */
function isFinal(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code, command, responseCode = 0 } = error as SmtpError;
  if (responseCode === 0) return code === "EENVELOPE" && command === "API";
  return responseCode >= 500 && (command === "RCPT TO" || command === "DATA");
}

function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
