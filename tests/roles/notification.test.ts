import { afterEach, describe, expect, test } from "vitest";
import { Channel, DeliveryState, NotificationService, Topic } from "#gen/commerce/notification/v1/notification_pb.ts";
import { newId } from "../../src/platform/id.ts";
import type { NotificationTables } from "../../src/roles/notification/schema.ts";
import { until } from "../support/conditions.ts";
import type { Notifier } from "../support/notification.ts";
import { startNotifier } from "../support/notification.ts";
import { refusal } from "../support/role.ts";
import type { SinkMail, SmtpSink } from "../support/smtp-sink.ts";
import { startSmtpSink } from "../support/smtp-sink.ts";

const cleanup: AsyncDisposable[] = [];
afterEach(async () => {
  for (const thing of cleanup.splice(0).reverse()) await thing[Symbol.asyncDispose]();
});

async function sending(
  config: Readonly<Record<string, unknown>> = {},
): Promise<{ notifier: Notifier; sink: SmtpSink }> {
  const sink = await startSmtpSink();
  cleanup.push(sink);
  const notifier = await startNotifier({ MAIL_URL: serverOf(sink), ...config });
  cleanup.push(notifier);
  return { notifier, sink };
}

/** One whose first mail the server has, and does not answer for. */
async function hanging(): Promise<{ notifier: Notifier; sink: SmtpSink }> {
  const { notifier, sink } = await sending();
  sink.fail("hang");
  const id = notifier.know();
  await notifier.user(changedOf(id), id);
  await until(() => sink.mails.length === 1);
  return { notifier, sink };
}

async function mailbox(): Promise<Notifier> {
  const notifier = await startNotifier();
  cleanup.push(notifier);
  return notifier;
}

function serverOf(sink: SmtpSink, auth?: { user: string; pass: string }) {
  return { host: sink.host, port: sink.port, secure: false, auth };
}

const created = { case: "created", value: {} } as const;
const resetOf = (userId: string) => ({ case: "passwordResetRequested", value: { userId } }) as const;
const confirmOf = (userId: string) => ({ case: "emailConfirmationRequested", value: { userId } }) as const;
const changedOf = (userId: string) => ({ case: "passwordChanged", value: { userId } }) as const;

const euros = (minor: bigint) => ({ currencyCode: "EUR", amountMinor: minor });

function orderOf(userId: string, reason = "") {
  return {
    id: newId(),
    userId,
    lines: [
      {
        number: 1,
        sku: "MUG",
        title: "Mug <b>big</b>",
        options: { color: "blue" },
        quantity: 2,
        amount: euros(2_580n),
      },
    ],
    adjustments: [
      { label: "Shipping", amount: euros(490n) },
      { label: "VAT 19 %", amount: euros(412n), included: true },
    ],
    totalAmount: euros(123_456_789n),
    reason,
  };
}

function only<T>(items: readonly T[]): T {
  expect(items).toHaveLength(1);
  return items[0] as T;
}

const linkOf = (mail: Pick<SinkMail, "text">) => /https?:\/\/\S+/.exec(mail.text)?.[0] ?? "";

describe("mails by SMTP", () => {
  test("an event becomes one mail, however often it arrives", async () => {
    const { notifier, sink } = await sending();
    const id = notifier.know();
    const event = await notifier.user(created, id);
    await notifier.receive(event, event);
    const delivery = only(await notifier.settled());
    expect(delivery).toMatchObject({ state: "sent", template: "welcome", attempts: 1, recipient: "ada@example.com" });
    const mail = only(sink.mails);
    expect(mail.from).toBe("shop@example.com");
    expect(mail.to).toEqual(["ada@example.com"]);
    expect(mail.headers.get("from")).toBe("Shop <shop@example.com>");
    expect(mail.headers.get("to")).toBe("Ada Lovelace <ada@example.com>");
    expect(mail.headers.get("subject")).toBe("Welcome to The Shop");
    expect(mail.headers.get("message-id")).toBe(`<${delivery.id}@example.com>`);
    expect(mail.headers.get("auto-submitted")).toBe("auto-generated");
    expect(mail.headers.has("list-unsubscribe")).toBe(false);
    expect(linkOf(mail)).toBe("http://shop.test/-/user/confirm-email#token-1");
    expect(mail.html).toContain('href="http://shop.test/-/user/confirm-email#token-1"');
    expect(mail.html).toContain('<html lang="en"');
  });

  test("the token of a link is nowhere in the database", async () => {
    const { notifier, sink } = await sending();
    const id = notifier.know();
    await notifier.user(resetOf(id), id);
    await notifier.settled();
    expect(linkOf(only(sink.mails))).toContain("#token-1");
    const rows = await notifier.role.database<NotificationTables>().selectFrom("deliveries").selectAll().execute();
    expect(JSON.stringify(rows)).not.toContain("token-1");
  });

  test("links lead to a storefront's own pages where it has them", async () => {
    const { notifier, sink } = await sending({
      CONFIRM_EMAIL_URL: "https://shop.example.com/confirm",
      RESET_PASSWORD_URL: "https://shop.example.com/reset?from=mail",
    });
    const id = notifier.know();
    await notifier.user(resetOf(id), id);
    await notifier.user(confirmOf(id), id);
    await notifier.settled();
    expect(
      sink.mails
        .map(linkOf)
        .map((link) => link.replace(/\d+$/, ""))
        .sort(),
    ).toEqual(["https://shop.example.com/confirm#token-", "https://shop.example.com/reset?from=mail#token-"]);
  });

  test("after a lost answer the mail goes again, under the same Message-ID", async () => {
    const { notifier, sink } = await sending();
    sink.fail("drop after data");
    const id = notifier.know();
    await notifier.user(changedOf(id), id);
    await notifier.hasten(1);
    expect(only(await notifier.settled())).toMatchObject({ state: "sent", attempts: 2 });
    const ids = sink.mails.map(({ headers }) => headers.get("message-id"));
    expect(ids).toHaveLength(2);
    expect(new Set(ids).size).toBe(1);
  });

  test("a refusal for now is tried again, one for good is not", async () => {
    const { notifier, sink } = await sending();
    sink.fail({ at: "recipient", code: 450 }, { at: "message", code: 451 });
    const id = notifier.know();
    await notifier.user(changedOf(id), id);
    await notifier.hasten(1);
    await notifier.hasten(2);
    expect(only(await notifier.settled())).toMatchObject({ state: "sent", attempts: 3, error: "" });
    sink.fail({ at: "recipient", code: 550 });
    await notifier.user(changedOf(id), id);
    const [, refused] = await notifier.settled();
    expect(refused).toMatchObject({ state: "failed", attempts: 1, recipient: "ada@example.com" });
    expect(refused?.error).toContain("550");
    sink.fail({ at: "message", code: 554 });
    await notifier.user(changedOf(id), id);
    expect((await notifier.settled())[2]).toMatchObject({ state: "failed", attempts: 1 });
  });

  test("waits double, from ten seconds", async () => {
    const { notifier, sink } = await sending();
    sink.fail({ at: "recipient", code: 450 }, { at: "recipient", code: 450 }, { at: "recipient", code: 450 });
    const id = notifier.know();
    await notifier.user(changedOf(id), id);
    const db = notifier.role.database<NotificationTables>();
    const waited = async () => {
      const row = await db.selectFrom("deliveries").select("next_attempt_at").executeTakeFirstOrThrow();
      return ((row.next_attempt_at?.getTime() ?? 0) - Date.now()) / 1_000;
    };
    await until(async () => (await waited()) > 5);
    expect(await waited()).toBeLessThanOrEqual(10);
    await notifier.hasten(1);
    await until(async () => (await waited()) > 10);
    expect(await waited()).toBeLessThanOrEqual(20);
  });

  test("a mail that hangs does not hold up the others", async () => {
    const { notifier, sink } = await sending();
    const [slow, quick] = [notifier.know({ email: "slow@example.com" }), notifier.know()];
    sink.fail("hang");
    await notifier.user(changedOf(slow), slow);
    await until(() => sink.mails.length === 1);
    await notifier.user(changedOf(quick), quick);
    await until(async () => (await notifier.deliveries()).some(({ state }) => state === "sent"));
    expect((await notifier.deliveries()).map(({ state }) => state)).toEqual(["pending", "sent"]);
  });

  test("it logs in, and a wrong password loses no mail", async () => {
    const auth = { user: "shop", pass: "correct horse" };
    const sink = await startSmtpSink(auth);
    cleanup.push(sink);
    const right = await startNotifier({ MAIL_URL: serverOf(sink, auth) });
    cleanup.push(right);
    const wrong = await startNotifier({ MAIL_URL: serverOf(sink, { user: "shop", pass: "hunter2" }) });
    cleanup.push(wrong);
    for (const notifier of [right, wrong]) {
      const id = notifier.know();
      await notifier.user(changedOf(id), id);
    }
    expect(only(await right.settled()).state).toBe("sent");
    expect(sink.logins).toEqual(["shop"]);
    await wrong.hasten(1);
    const { error } = only(await wrong.deliveries());
    expect(error).toContain("535");
    expect(error).not.toContain("hunter2");
  });

  test("two senders share the work, and send nothing twice", async () => {
    const { notifier, sink } = await sending();
    await notifier.role.replica();
    await notifier.role.replica();
    const ids = Array.from({ length: 60 }, () => notifier.know());
    for (const id of ids) await notifier.user(changedOf(id), id);
    expect((await notifier.settled()).every(({ state, attempts }) => state === "sent" && attempts === 1)).toBe(true);
    expect(sink.mails).toHaveLength(60);
  });

  test("while the user role does not answer, mails wait", async () => {
    const { notifier, sink } = await sending();
    notifier.peerIsUp = false;
    const id = notifier.know();
    await notifier.user(changedOf(id), id);
    await until(async () => only(await notifier.deliveries()).error.includes("OVERLOADED"));
    expect(sink.mails).toHaveLength(0);
    notifier.peerIsUp = true;
    await notifier.hasten(1);
    expect(only(await notifier.settled()).state).toBe("sent");
  });

  test("an attempt that the end of its process breaks off is due again at once", async () => {
    const { notifier, sink } = await hanging();
    const startedAt = performance.now();
    await notifier.role.running.close?.();
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    expect(only(await notifier.deliveries())).toMatchObject({ state: "pending", attempts: 1 });
    await notifier.role.replica();
    expect(only(await notifier.settled())).toMatchObject({ state: "sent", attempts: 2 });
    expect(new Set(sink.mails.map(({ headers }) => headers.get("message-id"))).size).toBe(1);
  });

  test("an attempt keeps its lease for as long as it takes", async () => {
    const { notifier, sink } = await hanging();
    const db = notifier.role.database<NotificationTables>();
    const leaseUntil = async () => {
      const { lease_until: end } = await db.selectFrom("deliveries").select("lease_until").executeTakeFirstOrThrow();
      return end?.getTime() ?? 0;
    };
    const first = await leaseUntil();
    await until(async () => (await leaseUntil()) > first, 15_000);
    expect(sink.mails.length).toBe(1);
    expect(only(await notifier.deliveries())).toMatchObject({ state: "pending", attempts: 1 });
  });

  test("an attempt whose process died is made by another when its lease is over", async () => {
    const { notifier, sink } = await hanging();
    const db = notifier.role.database<NotificationTables>();
    // As if the lease were over, and the first never came back.
    await db
      .updateTable("deliveries")
      .set({ lease_until: new Date(0) })
      .execute();
    expect(only(await notifier.settled())).toMatchObject({ state: "sent", attempts: 2 });
    expect(new Set(sink.mails.map(({ headers }) => headers.get("message-id"))).size).toBe(1);
  });
});

describe("what a mail says", () => {
  test("it speaks the user's language, and writes amounts as its readers do", async () => {
    const { notifier, sink } = await sending();
    const id = notifier.know({ locale: "de-AT", displayName: "Käthe" });
    const order = orderOf(id);
    await notifier.order({ case: "confirmed", value: { order } }, order.id);
    await notifier.settled();
    const mail = only(sink.mails);
    expect(mail.headers.get("subject")).toBe("Ihre Bestellung bei The Shop ist bestätigt");
    expect(mail.html).toContain('<html lang="de"');
    expect(mail.text).toContain("Guten Tag Käthe,");
    const total = new Intl.NumberFormat("de-AT", { style: "currency", currency: "EUR" }).format(1_234_567.89);
    expect(mail.text).toContain(`Gesamtbetrag: ${total}`);
    expect(mail.text).toContain("2 × Mug <b>big</b> (blue)");
    expect(mail.text).toMatch(/darin VAT 19 %: .*4,12/);
    expect(mail.html).toContain("Mug &lt;b&gt;big&lt;/b&gt;");
    expect(mail.text).toContain(order.id);
  });

  test("a language without texts, and none at all, get the shop's", async () => {
    const { notifier, sink } = await sending({ MAIL_LOCALE: "de" });
    for (const locale of ["fr-FR", "", "not a locale"]) {
      const id = notifier.know({ locale });
      await notifier.user(changedOf(id), id);
    }
    await notifier.settled();
    expect(sink.mails.map(({ headers }) => headers.get("subject"))).toEqual(
      Array.from({ length: 3 }, () => "Ihr Passwort für The Shop wurde geändert"),
    );
  });

  test("a name is text: no HTML, no header and no recipient comes of it", async () => {
    const { notifier, sink } = await sending();
    const displayName = '<script>alert(1)</script>"\r\nBcc: eve@localhost\r\n\r\nHello, Eve <eve@localhost>';
    const id = notifier.know({ displayName });
    await notifier.user(changedOf(id), id);
    await notifier.settled();
    const mail = only(sink.mails);
    expect(mail.to).toEqual(["ada@example.com"]);
    expect(mail.headers.has("bcc")).toBe(false);
    expect(mail.html).not.toContain("<script>");
    expect(mail.html).toContain("&lt;script&gt;alert(1)&lt;/script&gt;");
    expect(mail.text.split("\n").filter((line) => line.startsWith("Bcc:"))).toEqual([]);
  });

  test("a name that has a link is left out: nobody sends strangers anything by our mails", async () => {
    const { notifier, sink } = await sending();
    const id = notifier.know({ displayName: "You won, see evil.example" });
    await notifier.user(created, id);
    await notifier.settled();
    const mail = only(sink.mails);
    expect(mail.headers.get("to")).toBe("ada@example.com");
    expect(`${mail.text}${mail.html}`).not.toContain("evil.example");
  });

  test("each state of an order has its mail", async () => {
    const { notifier, sink } = await sending();
    const id = notifier.know();
    const order = orderOf(id, "OUT_OF_STOCK");
    for (const name of ["placed", "confirmed", "fulfilled", "rejected", "cancelled"] as const) {
      await notifier.order({ case: name, value: { order } }, order.id);
    }
    const deliveries = await notifier.settled();
    expect(deliveries.map(({ template }) => template)).toEqual([
      "order-placed",
      "order-confirmed",
      "order-fulfilled",
      "order-rejected",
      "order-cancelled",
    ]);
    const rejected = sink.mails.find(({ headers }) => headers.get("subject")?.includes("could not be carried out"));
    expect(rejected?.text).toContain("out of stock");
    // What another role tells of an order and nobody is to be told of.
    await notifier.order({ case: "delivered", value: { order } }, order.id);
    expect(await notifier.deliveries()).toHaveLength(5);
  });
});

describe("what is not sent", () => {
  test("to who is unknown, or may not act; a confirmation to who has confirmed; a reset that is old", async () => {
    const { notifier, sink } = await sending();
    const nobody = newId();
    const gone = notifier.know({ active: false });
    const confirmed = notifier.know({ emailConfirmed: true });
    await notifier.user(changedOf(nobody), nobody);
    await notifier.user(changedOf(gone), gone);
    await notifier.user(confirmOf(confirmed), confirmed);
    await notifier.user(resetOf(confirmed), confirmed, new Date(Date.now() - 3_700_000));
    expect((await notifier.settled()).map(({ state, error }) => `${state} ${error}`)).toEqual([
      "suppressed USER_UNKNOWN",
      "suppressed USER_INACTIVE",
      "suppressed ALREADY_CONFIRMED",
      "failed EXPIRED",
    ]);
    expect(sink.mails).toHaveLength(0);
  });

  test("a welcome to who has confirmed already goes without the link", async () => {
    const { notifier, sink } = await sending();
    const id = notifier.know({ emailConfirmed: true });
    await notifier.user(created, id);
    await notifier.settled();
    expect(only(sink.mails).html).not.toContain("confirm-email");
  });

  test("order mails end with one press, and account mails go on", async () => {
    const { notifier, sink } = await sending();
    const id = notifier.know();
    const order = orderOf(id);
    await notifier.order({ case: "placed", value: { order } }, order.id);
    await notifier.settled();
    const mail = only(sink.mails);
    expect(mail.headers.get("list-unsubscribe-post")).toBe("List-Unsubscribe=One-Click");
    const url = /^<(.*)>$/.exec(mail.headers.get("list-unsubscribe") ?? "")?.[1] ?? "";
    expect(mail.html).toContain(url);
    expect(url).toMatch(/^http:\/\/shop\.test\/-\/notification\/unsubscribe\?token=/);
    const path = url.slice("http://shop.test/-/notification".length);

    const asked = await notifier.http("GET", path);
    expect(asked.status).toBe(200);
    expect(asked.body).toContain('<form method="post">');
    const preferences = notifier.role.client(NotificationService, { subject: { kind: "user", id, permissions: [] } });
    const ordersByMail = async () =>
      (await preferences.getPreferences({})).preferences.find(
        ({ topic, channel }) => topic === Topic.ORDERS && channel === Channel.EMAIL,
      )?.enabled;
    expect(await ordersByMail()).toBe(true);

    for (let times = 0; times < 2; times += 1) expect((await notifier.http("POST", path)).status).toBe(200);
    expect(await ordersByMail()).toBe(false);
    await notifier.order({ case: "confirmed", value: { order } }, order.id);
    await notifier.user(changedOf(id), id);
    const [, suppressed, sent] = await notifier.settled();
    expect(suppressed).toMatchObject({ state: "suppressed", error: "PREFERENCE" });
    expect(sent).toMatchObject({ state: "sent" });
    expect(sink.mails).toHaveLength(2);
  });

  test("a token that was not made here, or was changed, does nothing", async () => {
    const notifier = await mailbox();
    for (const token of ["", "x", "AAAA", Buffer.alloc(80).toString("base64url"), "ä", "null"]) {
      for (const method of ["GET", "POST"] as const) {
        const answer = await notifier.http(method, `/unsubscribe?token=${encodeURIComponent(token)}`);
        expect(answer.status).toBe(400);
        expect(answer.body).toContain("This link does not work");
      }
    }
  });

  test("without a server mails wait, and use no attempts up", async () => {
    const notifier = await mailbox();
    const { running } = await notifier.role.replica({ tryout: false });
    await notifier.role.running.close?.();
    const id = notifier.know();
    await notifier.user(changedOf(id), id);
    const db = notifier.role.database<NotificationTables>();
    await db
      .insertInto("deliveries")
      .values({
        id: newId(),
        event_id: newId(),
        user_id: id,
        channel: "sms",
        topic: "account",
        template: "password-changed",
        parameters: "{}",
        state: "pending",
        recipient: "",
        attempts: 0,
        error: "",
        created_at: new Date(),
        expires_at: new Date(Date.now() + 3_600_000),
        next_attempt_at: new Date(0),
      })
      .execute();
    // The one of the channel that nobody serves is looked at, the mail is not.
    await until(async () => (await notifier.deliveries()).some(({ state }) => state === "failed"));
    expect((await notifier.deliveries()).map(({ state, attempts, error }) => [state, attempts, error])).toEqual([
      ["pending", 0, ""],
      ["failed", 1, "NO_PROVIDER"],
    ]);
    await running.close?.();
  });
});

describe("the service", () => {
  test("a delivery that failed is tried once more, one that was sent is not", async () => {
    const { notifier, sink } = await sending();
    sink.fail({ at: "recipient", code: 550 });
    const id = notifier.know();
    await notifier.user(changedOf(id), id);
    const failed = only(await notifier.settled());
    expect(failed.state).toBe("failed");
    const service = notifier.role.client(NotificationService);
    expect((await service.retryDelivery({ id: failed.id })).delivery?.state).toBe(DeliveryState.PENDING);
    expect(only(await notifier.settled())).toMatchObject({ state: "sent", attempts: 2 });
    expect((await service.retryDelivery({ id: failed.id })).delivery?.state).toBe(DeliveryState.SENT);
    expect(sink.mails).toHaveLength(1);
    expect((await refusal(service.retryDelivery({ id: newId() }))).reason).toBe("NOT_FOUND");
  });

  test("what a server said is for those who run the shop", async () => {
    const { notifier, sink } = await sending();
    sink.fail({ at: "recipient", code: 550 });
    const id = notifier.know();
    await notifier.user(changedOf(id), id);
    const gone = notifier.know({ active: false });
    await notifier.user(changedOf(gone), gone);
    await notifier.settled();
    const errorFor = async (userId: string, reader: string, ...permissions: string[]) => {
      const client = notifier.role.client(NotificationService, { subject: { kind: "user", id: reader, permissions } });
      return only((await client.listDeliveries({ userId })).deliveries).error;
    };
    expect(await errorFor(id, id)).toBe("");
    expect(await errorFor(id, newId(), "notification.read")).toContain("550");
    expect(await errorFor(gone, gone)).toBe("USER_INACTIVE");
  });

  test("one reads one's own deliveries, and with the permission everybody's", async () => {
    const { notifier } = await sending();
    const [one, other] = [notifier.know(), notifier.know({ active: false })];
    await notifier.user(changedOf(one), one);
    await notifier.user(changedOf(other), other);
    await notifier.user(created, one);
    await notifier.settled();
    const as = (id: string, ...permissions: string[]) =>
      notifier.role.client(NotificationService, { subject: { kind: "user", id, permissions } });
    const listed = async (client: ReturnType<typeof as>, request = {}) =>
      (await client.listDeliveries(request)).deliveries.map(({ userId, template }) => [userId, template]);

    expect(await listed(as(one))).toEqual([
      [one, "welcome"],
      [one, "password-changed"],
    ]);
    expect(await listed(as(one), { userId: one })).toHaveLength(2);
    expect((await refusal(as(one).listDeliveries({ userId: other }))).reason).toBe("ACCESS_DENIED");
    const clerk = as(newId(), "notification.read");
    expect(await listed(clerk)).toHaveLength(3);
    expect(await listed(clerk, { userId: other })).toEqual([[other, "password-changed"]]);
    expect(await listed(clerk, { states: [DeliveryState.SUPPRESSED] })).toEqual([[other, "password-changed"]]);
    const machine = notifier.role.client(NotificationService, {
      subject: { kind: "machine", id: "robot", permissions: [] },
    });
    expect((await refusal(machine.listDeliveries({}))).reason).toBe("ACCESS_DENIED");

    const first = await clerk.listDeliveries({ pageSize: 2 });
    const second = await clerk.listDeliveries({ pageSize: 2, pageToken: first.nextPageToken });
    expect([first.deliveries.length, second.deliveries.length, second.nextPageToken]).toEqual([2, 1, ""]);
    expect(first.deliveries[0]).toMatchObject({
      channel: Channel.EMAIL,
      topic: Topic.ACCOUNT,
      state: DeliveryState.SENT,
      recipient: "ada@example.com",
      attempts: 1,
    });
    expect(first.deliveries[0]?.sentAt).toBeDefined();
    expect(first.deliveries[0]?.nextAttemptAt).toBeUndefined();
  });

  test("preferences are complete, change one by one, and account mails stay on", async () => {
    const notifier = await mailbox();
    const id = newId();
    const own = notifier.role.client(NotificationService, { subject: { kind: "user", id, permissions: [] } });
    const byDefault = (await own.getPreferences({})).preferences;
    expect(byDefault).toHaveLength(9);
    expect(byDefault.filter(({ enabled }) => !enabled).map(({ topic }) => topic)).toEqual(
      Array.from({ length: 3 }, () => Topic.MARKETING),
    );
    const changed = await own.updatePreferences({
      preferences: [
        { topic: Topic.MARKETING, channel: Channel.EMAIL, enabled: false },
        { topic: Topic.MARKETING, channel: Channel.EMAIL, enabled: true },
        { topic: Topic.ORDERS, channel: Channel.SMS, enabled: false },
        { topic: Topic.ACCOUNT, channel: Channel.EMAIL, enabled: true },
      ],
    });
    const isOn = (topic: Topic, channel: Channel) =>
      changed.preferences.find((one) => one.topic === topic && one.channel === channel)?.enabled;
    expect([
      isOn(Topic.MARKETING, Channel.EMAIL),
      isOn(Topic.ORDERS, Channel.SMS),
      isOn(Topic.ORDERS, Channel.EMAIL),
    ]).toEqual([true, false, true]);
    const account = { topic: Topic.ACCOUNT, channel: Channel.EMAIL, enabled: false };
    const refused = await refusal(own.updatePreferences({ preferences: [account] }));
    expect([refused.reason, refused.details.fields?.[0]?.field]).toEqual(["INVALID_REQUEST", "preferences[0].enabled"]);

    const stranger = notifier.role.client(NotificationService, {
      subject: { kind: "user", id: newId(), permissions: ["notification.read"] },
    });
    expect((await stranger.getPreferences({ userId: id })).preferences).toEqual(changed.preferences);
    const wish = { userId: id, preferences: [{ ...account, enabled: true }] };
    expect((await refusal(stranger.updatePreferences(wish))).reason).toBe("ACCESS_DENIED");
  });
});

describe("the mailbox of a shop that is tried out", () => {
  test("shows mails to this machine, with nothing in them that runs", async () => {
    const notifier = await mailbox();
    expect((await notifier.http("GET", "/mailbox")).body).toContain("No mail yet");
    const id = notifier.know({ displayName: "<script>alert(1)</script>" });
    await notifier.user(resetOf(id), id);
    const { id: delivery } = only(await notifier.settled());

    const list = await notifier.http("GET", "/mailbox");
    expect(list.status).toBe(200);
    expect(list.body).toContain(`href="mailbox/${delivery}"`);
    expect(list.headers).toMatchObject({
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
    });
    expect(list.headers?.["content-security-policy"]).toMatch(/^default-src 'none'; style-src 'sha256-/);
    const shown = await notifier.http("GET", `/mailbox/${delivery}`);
    expect(shown.body).toContain('sandbox="allow-popups allow-popups-to-escape-sandbox"');
    expect(shown.body).not.toContain("<script>");
    const raw = await notifier.http("GET", `/mailbox/${delivery}/raw`);
    expect(raw.headers?.["content-type"]).toBe("text/plain; charset=utf-8");
    expect(raw.body).toContain(`Message-ID: <${delivery}@example.com>`);
    expect(raw.body).toContain("/-/user/reset-password#token-1");
    for (const absent of [newId(), "1"]) expect((await notifier.http("GET", `/mailbox/${absent}`)).status).toBe(404);
  });

  test("is not there for others, nor in a shop that serves others", async () => {
    const notifier = await mailbox();
    const others = [{ host: "shop.example.com" }, { host: "localhost", "x-forwarded-for": "192.0.2.1" }];
    expect((await notifier.http("GET", "/mailbox", { host: "localhost:8080" })).status).toBe(200);
    for (const headers of others) expect((await notifier.http("GET", "/mailbox", headers)).status).toBe(404);
    const { running } = await notifier.role.replica({ tryout: false });
    expect((await notifier.http("GET", "/mailbox", { host: "localhost" }, running)).status).toBe(404);
  });
});
