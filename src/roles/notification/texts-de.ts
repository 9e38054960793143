import type { Texts } from "./texts.ts";

const REASONS: Readonly<Record<string, string>> = {
  OUT_OF_STOCK: "Etwas aus Ihrer Bestellung ist nicht mehr vorrätig.",
  CARD_DECLINED: "Die Zahlung wurde abgelehnt.",
  PAYMENT_METHOD_INVALID: "Die Zahlungsart konnte nicht verwendet werden.",
  PAYMENT_FAILED: "Die Zahlung konnte nicht abgeschlossen werden.",
  INVENTORY_UNAVAILABLE: "Wir konnten den Bestand nicht rechtzeitig prüfen. Bitte bestellen Sie noch einmal.",
  PAYMENT_UNAVAILABLE: "Die Zahlung kam nicht rechtzeitig zustande. Bitte bestellen Sie noch einmal.",
  PAYMENT_EXPIRED: "Die Zahlung wurde nicht rechtzeitig abgeschlossen.",
  CANCEL_REQUESTED: "Wie von Ihnen gewünscht.",
};

const CONFIRM_NOTE = "Der Link gilt eine Woche.";

export const german: Texts = {
  greeting: (name) => (name === "" ? "Guten Tag," : `Guten Tag ${name},`),
  mails: {
    welcome: ({ shop, link }) => ({
      subject: `Willkommen bei ${shop}`,
      preview:
        link === undefined
          ? "Ihr Konto ist eingerichtet."
          : "Ihr Konto ist eingerichtet. Bitte bestätigen Sie Ihre Adresse.",
      heading: `Willkommen bei ${shop}`,
      paragraphs: [
        "vielen Dank für Ihre Anmeldung. Ihr Konto ist eingerichtet.",
        ...(link === undefined
          ? []
          : ["Bitte bestätigen Sie, dass diese Adresse Ihnen gehört, damit wir Sie erreichen können."]),
      ],
      button: "E-Mail bestätigen",
      notes:
        link === undefined
          ? []
          : [CONFIRM_NOTE, "Haben Sie sich nicht angemeldet, bestätigen Sie nichts: Das war dann jemand anderes."],
    }),
    "confirm-email": ({ shop }) => ({
      subject: `Bestätigen Sie Ihre E-Mail-Adresse für ${shop}`,
      preview: "Ein Klick, und wir wissen, dass diese Adresse Ihnen gehört.",
      heading: "E-Mail-Adresse bestätigen",
      paragraphs: ["bitte bestätigen Sie, dass diese Adresse Ihnen gehört, damit wir Sie erreichen können."],
      button: "E-Mail bestätigen",
      notes: [CONFIRM_NOTE, "Falls Sie diese Mail nicht angefordert haben, müssen Sie nichts tun."],
    }),
    "reset-password": ({ shop }) => ({
      subject: `Neues Passwort für ${shop}`,
      preview: "Der Link gilt eine halbe Stunde.",
      heading: "Neues Passwort setzen",
      paragraphs: ["jemand, hoffentlich Sie selbst, möchte für Ihr Konto ein neues Passwort setzen."],
      button: "Neues Passwort setzen",
      notes: [
        "Der Link gilt eine halbe Stunde und nur einmal.",
        "Waren Sie das nicht, müssen Sie nichts tun: Ihr Passwort bleibt, wie es ist.",
      ],
    }),
    "login-added": ({ shop }) => ({
      subject: `Ihr Konto bei ${shop} hat eine weitere Anmeldung`,
      preview: "Waren Sie das nicht, setzen Sie sofort ein neues Passwort.",
      heading: "Ihr Konto hat eine weitere Anmeldung",
      paragraphs: [
        "Ihr Konto lässt sich jetzt auch durch eine Anmeldung bei einem anderen Anbieter öffnen.",
        "Waren Sie das nicht, entfernen Sie sie aus den Anmeldungen Ihres Kontos, setzen Sie sofort ein anderes Passwort, und melden Sie sich bei uns.",
      ],
      button: "",
      notes: [],
    }),
    "password-changed": ({ shop }) => ({
      subject: `Ihr Passwort für ${shop} wurde geändert`,
      preview: "Waren Sie das nicht, setzen Sie sofort ein neues.",
      heading: "Ihr Passwort wurde geändert",
      paragraphs: [
        "Ihr Konto hat ein neues Passwort; überall sonst wurden Sie abgemeldet.",
        "Waren Sie das nicht, fordern Sie sofort einen Link für ein anderes Passwort an, und melden Sie sich bei uns.",
      ],
      button: "",
      notes: [],
    }),
    "order-placed": ({ shop }) => ({
      subject: `Ihre Bestellung bei ${shop} ist eingegangen`,
      preview: "Vielen Dank. Wir schreiben wieder, sobald sie bestätigt ist.",
      heading: "Ihre Bestellung ist eingegangen",
      paragraphs: ["vielen Dank für Ihre Bestellung. Wir schreiben Ihnen wieder, sobald sie bestätigt ist."],
      button: "",
      notes: [],
    }),
    "order-confirmed": ({ shop }) => ({
      subject: `Ihre Bestellung bei ${shop} ist bestätigt`,
      preview: "Sie ist bezahlt, und wir machen sie fertig.",
      heading: "Ihre Bestellung ist bestätigt",
      paragraphs: ["Ihre Bestellung ist bezahlt, und wir machen sie für Sie fertig."],
      button: "",
      notes: [],
    }),
    "order-fulfilled": ({ shop }) => ({
      subject: `Ihre Bestellung von ${shop} ist unterwegs`,
      preview: "Wir haben sie dem Versand übergeben.",
      heading: "Ihre Bestellung ist unterwegs",
      paragraphs: ["wir haben Ihre Bestellung dem Versand übergeben."],
      button: "",
      notes: [],
    }),
    "order-rejected": ({ shop, reason }) => ({
      subject: `Ihre Bestellung bei ${shop} konnte nicht ausgeführt werden`,
      preview: REASONS[reason] ?? "Es wurde nichts abgebucht.",
      heading: "Ihre Bestellung konnte nicht ausgeführt werden",
      paragraphs: [
        "es tut uns leid: Wir konnten Ihre Bestellung nicht ausführen.",
        ...(REASONS[reason] === undefined ? [] : [REASONS[reason]]),
        "Sie kostet Sie nichts; ein auf Ihrer Karte reservierter Betrag wird freigegeben.",
      ],
      button: "",
      notes: [],
    }),
    "order-cancelled": ({ shop, reason }) => ({
      subject: `Ihre Bestellung bei ${shop} wurde storniert`,
      preview: REASONS[reason] ?? "Es wird nichts versandt.",
      heading: "Ihre Bestellung wurde storniert",
      paragraphs: [
        "Ihre Bestellung wurde storniert, es wird nichts versandt.",
        ...(REASONS[reason] === undefined ? [] : [REASONS[reason]]),
        "Falls Sie schon bezahlt haben, erhalten Sie das Geld auf demselben Weg zurück.",
      ],
      button: "",
      notes: [],
    }),
  },
  order: {
    number: "Bestellung",
    total: "Gesamtbetrag",
    included: (label) => `darin ${label}`,
  },
  linkNote: "Falls der Knopf nicht geht, kopieren Sie diese Adresse in Ihren Browser:",
  footer: {
    account: (shop) => `Sie erhalten diese Mail, weil Sie ein Konto bei ${shop} haben.`,
    orders: (shop) => `Sie erhalten diese Mail, weil Sie bei ${shop} bestellt haben.`,
  },
  unsubscribe: "Keine Mails mehr zu Bestellungen",
};
