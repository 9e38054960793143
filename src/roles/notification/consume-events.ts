import type { Transaction } from "kysely";
import { afterCommit } from "../../platform/database.ts";
import type { Consumer, ReceivedEvent } from "../../platform/events/declaration.ts";
import { on } from "../../platform/events/declaration.ts";
import type { MailParameters, OrderParameters, StoredMoney, Template } from "./delivery.ts";
import { ruleOf } from "./delivery.ts";
import { orderConsumption, userConsumption } from "./events.ts";
import type { NotificationTables } from "./schema.ts";
import { insertDelivery } from "./store.ts";

type Trx = Transaction<NotificationTables>;

/** What is done for each event: a delivery is noted, in the transaction that remembers the event. */
export function createConsumers(wake: () => void): readonly Consumer[] {
  async function note(
    trx: Trx,
    event: ReceivedEvent,
    userId: string,
    template: Template,
    parameters: MailParameters = {},
  ): Promise<void> {
    const { topic, staleAfterMs } = ruleOf(template);
    const expiresAt = new Date(event.occurredAt.getTime() + staleAfterMs);
    const delivery = { eventId: event.id, userId, channel: "email", topic, template, parameters, expiresAt } as const;
    if (await insertDelivery(trx, delivery)) afterCommit(trx, wake);
  }

  const aboutUser = (template: Template) => (trx: Trx, _value: unknown, event: ReceivedEvent) =>
    note(trx, event, event.aggregateId, template);

  const aboutOrder =
    (template: Template) =>
    (trx: Trx, { order }: { readonly order?: OrderOfEvent | undefined }, event: ReceivedEvent) => {
      if (!order) throw new Error(`${event.type} without its order`);
      return note(trx, event, order.userId, template, { order: parametersOf(order) });
    };

  return [
    on(userConsumption, {
      created: aboutUser("welcome"),
      loginAdded: aboutUser("login-added"),
      passwordChanged: aboutUser("password-changed"),
      passwordResetRequested: aboutUser("reset-password"),
      emailConfirmationRequested: aboutUser("confirm-email"),
    }),
    on(orderConsumption, {
      placed: aboutOrder("order-placed"),
      confirmed: aboutOrder("order-confirmed"),
      fulfilled: aboutOrder("order-fulfilled"),
      rejected: aboutOrder("order-rejected"),
      cancelled: aboutOrder("order-cancelled"),
    }),
  ];
}

interface MoneyOfEvent {
  readonly currencyCode: string;
  readonly amountMinor: bigint;
}

/** What mails tell of an order, as its events have it. */
interface OrderOfEvent {
  readonly id: string;
  readonly userId: string;
  readonly reason: string;
  readonly lines: readonly {
    readonly title: string;
    readonly sku: string;
    readonly options: Readonly<Record<string, string>>;
    readonly quantity: number;
    readonly amount?: MoneyOfEvent | undefined;
  }[];
  readonly adjustments: readonly {
    readonly label: string;
    readonly amount?: MoneyOfEvent | undefined;
    readonly included: boolean;
  }[];
  readonly totalAmount?: MoneyOfEvent | undefined;
}

function parametersOf({ id, reason, lines, adjustments, totalAmount }: OrderOfEvent): OrderParameters {
  return {
    id,
    reason,
    lines: lines.map(({ title, sku, options, quantity, amount }) => ({
      title: title === "" ? sku : title,
      options: Object.values(options).join(", "),
      quantity,
      amount: stored(amount),
    })),
    adjustments: adjustments.map(({ label, amount, included }) => ({ label, amount: stored(amount), included })),
    total: stored(totalAmount),
  };
}

function stored(money: MoneyOfEvent | undefined): StoredMoney {
  if (!money) throw new Error("an amount is missing");
  return { currency: money.currencyCode, minor: String(money.amountMinor) };
}
