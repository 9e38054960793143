import type { Kysely } from "kysely";
import { startWorker } from "../../platform/events/worker.ts";
import type { Logger } from "../../platform/logger.ts";
import { within } from "../../platform/within.ts";
import type { ChannelProvider } from "./channel.ts";
import { Refused } from "./channel.ts";
import type { ComposedMail, MailFacts } from "./compose-mail.ts";
import type { Channel, LinkPurpose } from "./delivery.ts";
import { canBeTurnedOff, isOnUnlessSaid, ruleOf, waitAfter } from "./delivery.ts";
import type { Language } from "./locale.ts";
import { mailLocaleOf } from "./locale.ts";
import type { Recipient, RecipientPeer } from "./peers.ts";
import type { NotificationTables } from "./schema.ts";
import type { AttemptEnd, LeasedDelivery } from "./store.ts";
import { endAttempt, leaseDeliveries, renewLeases } from "./store.ts";
import { findPreference } from "./store-preferences.ts";
import type { Unsubscription } from "./unsubscribe-token.ts";
import { writtenName } from "./written-name.ts";

/** Attempts of one process at the same time. */
export const CONCURRENT_ATTEMPTS = 5;
/** Milliseconds between looks for what another process left, or what has become due. */
const POLL_MS = 1_000;
/** Milliseconds that an attempt may take. */
const ATTEMPT_MS = 45_000;
/** Milliseconds after which somebody else may begin another attempt, where this process says nothing any more. */
const LEASE_MS = 20_000;
/** Milliseconds between two times that it says so. */
const RENEW_MS = 5_000;
/** Milliseconds that attempts get to end when the process stops. */
const GRACE_MS = 1_000;

export interface SenderContext {
  readonly db: Kysely<NotificationTables>;
  readonly recipients: RecipientPeer;
  readonly providers: readonly ChannelProvider[];
  /** Those whose deliveries do not wait until there is a provider. */
  readonly channels: readonly Channel[];
  readonly compose: (facts: MailFacts) => ComposedMail;
  readonly shop: string;
  readonly language: Language;
  /** Where the button of a mail leads that has a token. */
  readonly linkTo: (link: LinkPurpose, token: string) => string;
  readonly unsubscribeUrl: (unsubscription: Unsubscription) => string;
  readonly log: Logger;
}

export interface DeliverySender {
  /** Has it look at once. */
  wake(): void;
  /** Begins no other attempt; those under way get a moment, and are broken off then: they come again. */
  close(): Promise<void>;
}

/** Sends what is due, in this process, until it is closed. */
export function startSender(context: SenderContext): DeliverySender {
  const { db, channels, log } = context;
  const closing = new AbortController();
  const underWay = new Map<LeasedDelivery, Promise<void>>();
  let renewedAt = performance.now();
  let isDown = false;
  let isClosing = false;

  const worker = startWorker(async () => {
    try {
      await renew();
      const most = CONCURRENT_ATTEMPTS - underWay.size;
      if (most === 0 || isClosing) return { afterMs: POLL_MS };
      const leased = await leaseDeliveries(db, { most, leaseMs: LEASE_MS, channels });
      isDown = false;
      for (const delivery of leased) begin(delivery);
    } catch (error) {
      if (!isDown) log.warn({ err: error }, "what is to be sent cannot be read");
      isDown = true;
    }
    return { afterMs: POLL_MS };
  });

  /** Keeps what is under way: an attempt may take longer than a lease. */
  async function renew(): Promise<void> {
    if (performance.now() - renewedAt < RENEW_MS) return;
    if (underWay.size > 0) await renewLeases(db, [...underWay.keys()], LEASE_MS);
    renewedAt = performance.now();
  }

  function begin(delivery: LeasedDelivery): void {
    const attempt = attemptDelivery(context, delivery, closing.signal)
      .catch((error: unknown) => {
        // It stays leased, and is tried again after that.
        log.warn({ err: error, delivery: delivery.id }, "the end of an attempt was not noted");
      })
      .finally(() => {
        underWay.delete(delivery);
        worker.wake();
      });
    underWay.set(delivery, attempt);
  }

  return {
    wake: () => {
      worker.wake();
    },
    async close() {
      isClosing = true;
      const timer = setTimeout(() => {
        closing.abort(new Error("the process stops"));
      }, GRACE_MS);
      await worker.close();
      await Promise.all(underWay.values());
      clearTimeout(timer);
    },
  };
}

/** One attempt, with its end noted. @throws what the database failed with */
async function attemptDelivery(context: SenderContext, delivery: LeasedDelivery, closing: AbortSignal): Promise<void> {
  const { db, log } = context;
  const note: { recipient?: string } = {};
  let end: AttemptEnd;
  try {
    const signal = AbortSignal.any([closing, AbortSignal.timeout(ATTEMPT_MS)]);
    const late = () => new Error(`not done within ${String(ATTEMPT_MS / 1_000)} s`);
    end = await within(ATTEMPT_MS + 1_000, carryOut(context, delivery, note, signal), late);
  } catch (error) {
    end = failed(error, delivery.attempts, closing.aborted);
  }
  const line = { delivery: delivery.id, template: delivery.template, attempts: delivery.attempts };
  if (!(await endAttempt(db, delivery, end, note.recipient))) {
    log.warn(line, "an attempt took longer than its lease");
  } else if (end.state === "failed") {
    log.warn({ ...line, why: withoutAddresses(end.error) }, "a delivery failed");
  } else if (end.state === "pending") {
    log.info({ ...line, why: withoutAddresses(end.error), waitMs: end.waitMs }, "a delivery is tried again later");
  } else {
    log.debug({ ...line, state: end.state }, "a delivery is done");
  }
}

/** Servers quote whom they refuse; logs name nobody. */
function withoutAddresses(said: string): string {
  return said.replaceAll(/[^\s<>"']+@[^\s<>"']+/g, "…");
}

/** What becomes of a delivery. @throws Refused; anything else for another attempt */
async function carryOut(
  { db, recipients, providers, compose, shop, language, linkTo, unsubscribeUrl }: SenderContext,
  { id, user_id: userId, channel, topic, template, parameters, expired }: LeasedDelivery,
  note: { recipient?: string },
  signal: AbortSignal,
): Promise<AttemptEnd> {
  if (expired) return { state: "failed", error: "EXPIRED" };
  const provider = providers.find((candidate) => candidate.channel === channel);
  if (!provider) return { state: "failed", error: "NO_PROVIDER" };
  if (canBeTurnedOff(topic) && !((await findPreference(db, userId, topic, channel)) ?? isOnUnlessSaid(topic))) {
    return { state: "suppressed", error: "PREFERENCE" };
  }
  const { link } = ruleOf(template);
  const recipient = await recipients.findRecipient(userId, link, signal);
  if (!recipient) return { state: "suppressed", error: "USER_UNKNOWN" };
  if (!recipient.active) return { state: "suppressed", error: "USER_INACTIVE" };
  if (template === "confirm-email" && recipient.emailConfirmed) {
    return { state: "suppressed", error: "ALREADY_CONFIRMED" };
  }
  const unsubscribe = canBeTurnedOff(topic) ? unsubscribeUrl({ userId, topic, channel }) : undefined;
  const name = writtenName(recipient.displayName);
  const mail = compose({
    shop,
    locale: mailLocaleOf(recipient.locale, language),
    template,
    topic,
    name,
    link: linkFor(link, recipient, linkTo),
    order: parameters.order,
    unsubscribeUrl: unsubscribe,
  });
  note.recipient = recipient.email;
  await provider.send({ id, to: { address: recipient.email, name }, ...mail, unsubscribeUrl: unsubscribe }, signal);
  return { state: "sent", error: "" };
}

/** Nobody confirms twice: a welcome then goes without the link. */
function linkFor(
  link: LinkPurpose | undefined,
  { token, emailConfirmed }: Recipient,
  linkTo: SenderContext["linkTo"],
): string | undefined {
  if (link === undefined || (link === "confirm email" && emailConfirmed)) return undefined;
  if (token === "") throw new Error("the user role gave no token for the link");
  return linkTo(link, token);
}

function failed(error: unknown, attempts: number, isClosing: boolean): AttemptEnd {
  const said = error instanceof Error ? error.message : String(error);
  if (error instanceof Refused) return { state: "failed", error: said };
  const waitMs = isClosing ? 0 : waitAfter(attempts);
  return waitMs === undefined ? { state: "failed", error: said } : { state: "pending", error: said, waitMs };
}
