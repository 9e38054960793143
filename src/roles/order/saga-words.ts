import { moneyText } from "../../platform/money.ts";
import type { HistoryEntry, Order, Reason } from "./order.ts";

type Priced = Pick<Order, "totalMinor" | "currency">;

/** What the history says of each step, for people who look after the shop. */
export const words = {
  placed: ({ lines, ...order }: Priced & Pick<Order, "lines">): HistoryEntry => ({
    step: "PLACED",
    message: `${skusOf(lines)} for ${totalOf(order)}.`,
  }),

  done(step: "RESERVE" | "AUTHORIZE" | "COMMIT", order: Priced & Pick<Order, "lines">, until?: Date): HistoryEntry {
    switch (step) {
      case "RESERVE": {
        const end = until ? ` until ${timeOf(until)}` : "";
        return { step: "STOCK_RESERVED", message: `${skusOf(order.lines)} ${areOf(order.lines)} held${end}.` };
      }
      case "AUTHORIZE":
        return { step: "PAYMENT_AUTHORIZED", message: `The payment of ${totalOf(order)} is authorized.` };
      case "COMMIT":
        return {
          step: "STOCK_COMMITTED",
          message: `${skusOf(order.lines)} ${areOf(order.lines)} taken out of the stock.`,
        };
    }
  },

  awaited: (expiresAt: Date): HistoryEntry => ({
    step: "PAYMENT_ACTION_REQUIRED",
    message: `The buyer has to confirm the payment until ${timeOf(expiresAt)}.`,
  }),

  confirmed: (order: Priced): HistoryEntry => ({
    step: "CONFIRMED",
    message: order.totalMinor === 0n ? "There is nothing to pay." : `${totalOf(order)} are paid.`,
  }),

  voided: (order: Priced): HistoryEntry => ({
    step: "PAYMENT_VOIDED",
    message: `The payment of ${totalOf(order)} is given back, or was never made.`,
  }),

  released: (): HistoryEntry => ({ step: "STOCK_RELEASED", message: "What was held or taken is in stock again." }),

  ended: ({ state, why }: { readonly state: "REJECTED" | "CANCELLED"; readonly why: Reason }): HistoryEntry => ({
    step: state,
    message: sentenceOf(why),
  }),

  cancelRequested: (): HistoryEntry => ({ step: "CANCEL_REQUESTED", message: "Somebody asked to cancel it." }),

  refundRequested: (minor: bigint, { currency }: Pick<Order, "currency">, reason = ""): HistoryEntry => ({
    step: "REFUND_REQUESTED",
    message: `${moneyText({ currency, minor })} are to be paid back${reason === "" ? "." : `: ${reason}`}`,
  }),

  refunded: (minor: bigint, { currency }: Pick<Order, "currency">): HistoryEntry => ({
    step: "REFUNDED",
    message: `${moneyText({ currency, minor })} are paid back.`,
  }),

  refundFailed: (
    minor: bigint,
    { currency }: Pick<Order, "currency">,
    failureCode: string,
    endsCancel: boolean,
  ): HistoryEntry => ({
    step: "REFUND_FAILED",
    message: `${moneyText({ currency, minor })} could not be paid back: ${failureCode}.${endsCancel ? " So it is not cancelled." : ""}`,
  }),

  returned: (units: number): HistoryEntry => ({
    step: "STOCK_RETURNED",
    message: `${String(units)} ${units === 1 ? "unit is" : "units are"} in stock again.`,
  }),

  fulfilled: (): HistoryEntry => ({ step: "FULFILLED", message: "The goods have left." }),

  delivered: (): HistoryEntry => ({ step: "DELIVERED", message: "The goods have arrived." }),
};

function sentenceOf({ reason, metadata }: Reason): string {
  const of = (key: string) => metadata[key] ?? "?";
  switch (reason) {
    case "OUT_OF_STOCK":
      return `There is not enough of ${of("sku")}: ${of("requested")} wanted, ${of("available")} there.`;
    case "CARD_DECLINED":
      return `The payment was declined: ${of("decline_code")}.`;
    case "PAYMENT_METHOD_INVALID":
      return "The payment provider does not know the payment method.";
    case "PAYMENT_FAILED":
      return "The payment was authorized and could not be taken.";
    case "PAYMENT_EXPIRED":
      return "The buyer did not confirm the payment in time.";
    case "INVENTORY_UNAVAILABLE":
      return "The inventory could not be reached for too long.";
    case "PAYMENT_UNAVAILABLE":
      return "The payment had no outcome for too long.";
    case "CANCEL_REQUESTED":
      return "As somebody asked.";
    default:
      return reason;
  }
}

function skusOf(lines: Order["lines"]): string {
  const count = countOf(lines);
  return `${String(count)} SKU${count === 1 ? "" : "s"}`;
}

function areOf(lines: Order["lines"]): string {
  return countOf(lines) === 1 ? "is" : "are";
}

function countOf(lines: Order["lines"]): number {
  return new Set(lines.map(({ sku }) => sku)).size;
}

function totalOf({ currency, totalMinor }: Priced): string {
  return moneyText({ currency, minor: totalMinor });
}

function timeOf(date: Date): string {
  return `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}
