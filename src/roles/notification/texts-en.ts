import type { Texts } from "./texts.ts";

const REASONS: Readonly<Record<string, string>> = {
  OUT_OF_STOCK: "Something you ordered is out of stock.",
  CARD_DECLINED: "Your payment was declined.",
  PAYMENT_METHOD_INVALID: "Your payment method could not be used.",
  PAYMENT_FAILED: "Your payment could not be completed.",
  INVENTORY_UNAVAILABLE: "We could not check in time whether everything is in stock. Please order again.",
  PAYMENT_UNAVAILABLE: "Your payment could not be completed in time. Please order again.",
  PAYMENT_EXPIRED: "The payment was not completed in time.",
  CANCEL_REQUESTED: "As you asked.",
};

const CONFIRM_NOTE = "The link is good for a week.";

export const english: Texts = {
  greeting: (name) => (name === "" ? "Hello," : `Hello ${name},`),
  mails: {
    welcome: ({ shop, link }) => ({
      subject: `Welcome to ${shop}`,
      preview: link === undefined ? "Your account is ready." : "Your account is ready. Please confirm your email.",
      heading: `Welcome to ${shop}`,
      paragraphs: [
        "Thank you for signing up. Your account is ready.",
        ...(link === undefined ? [] : ["Please confirm that this address is yours, so that we can reach you."]),
      ],
      button: "Confirm email",
      notes: link === undefined ? [] : [CONFIRM_NOTE, "If you did not sign up, do not confirm: somebody else did."],
    }),
    "confirm-email": ({ shop }) => ({
      subject: `Confirm your email for ${shop}`,
      preview: "One press, and we know that this address is yours.",
      heading: "Confirm your email",
      paragraphs: ["Please confirm that this address is yours, so that we can reach you."],
      button: "Confirm email",
      notes: [CONFIRM_NOTE, "If you did not ask for this mail, there is nothing to do."],
    }),
    "reset-password": ({ shop }) => ({
      subject: `Set a new password for ${shop}`,
      preview: "The link is good for half an hour.",
      heading: "Set a new password",
      paragraphs: ["Somebody, hopefully you, asked to set a new password for your account."],
      button: "Set a new password",
      notes: [
        "The link is good for half an hour, and once.",
        "If that was not you, there is nothing to do: your password stays as it is.",
      ],
    }),
    "login-added": ({ shop }) => ({
      subject: `Your account at ${shop} has another login`,
      preview: "If that was not you, set a new password now.",
      heading: "Your account has another login",
      paragraphs: [
        "Your account can now also be opened by a login at another provider.",
        "If that was not you, remove it from the logins of your account, set another password at once, and contact us.",
      ],
      button: "",
      notes: [],
    }),
    "password-changed": ({ shop }) => ({
      subject: `Your password for ${shop} was changed`,
      preview: "If that was not you, set a new one now.",
      heading: "Your password was changed",
      paragraphs: [
        "Your account has a new password, and you were logged out everywhere else.",
        "If that was not you, ask for a link to set another password at once, and contact us.",
      ],
      button: "",
      notes: [],
    }),
    "order-placed": ({ shop }) => ({
      subject: `We have your order at ${shop}`,
      preview: "Thank you. We will write again when it is confirmed.",
      heading: "We have your order",
      paragraphs: ["Thank you for your order. We will write again when it is confirmed."],
      button: "",
      notes: [],
    }),
    "order-confirmed": ({ shop }) => ({
      subject: `Your order at ${shop} is confirmed`,
      preview: "It is paid, and we are getting it ready.",
      heading: "Your order is confirmed",
      paragraphs: ["Your order is paid, and we are getting it ready for you."],
      button: "",
      notes: [],
    }),
    "order-fulfilled": ({ shop }) => ({
      subject: `Your order from ${shop} is on its way`,
      preview: "We have handed it to the carrier.",
      heading: "Your order is on its way",
      paragraphs: ["We have handed your order to the carrier."],
      button: "",
      notes: [],
    }),
    "order-rejected": ({ shop, reason }) => ({
      subject: `Your order at ${shop} could not be carried out`,
      preview: REASONS[reason] ?? "Nothing was charged.",
      heading: "We could not carry out your order",
      paragraphs: [
        "We are sorry: your order could not be carried out.",
        ...(REASONS[reason] === undefined ? [] : [REASONS[reason]]),
        "It costs you nothing; what was reserved on your card is released.",
      ],
      button: "",
      notes: [],
    }),
    "order-cancelled": ({ shop, reason }) => ({
      subject: `Your order at ${shop} was cancelled`,
      preview: REASONS[reason] ?? "Nothing will be sent.",
      heading: "Your order was cancelled",
      paragraphs: [
        "Your order was cancelled, and nothing will be sent.",
        ...(REASONS[reason] === undefined ? [] : [REASONS[reason]]),
        "If you have paid already, the money goes back the way it came.",
      ],
      button: "",
      notes: [],
    }),
  },
  order: {
    number: "Order",
    total: "Total",
    included: (label) => `includes ${label}`,
  },
  linkNote: "If the button does not work, copy this address into your browser:",
  footer: {
    account: (shop) => `You get this mail because you have an account at ${shop}.`,
    orders: (shop) => `You get this mail because you ordered at ${shop}.`,
  },
  unsubscribe: "No more mails about orders",
};
