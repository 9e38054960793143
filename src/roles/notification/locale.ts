import { decimalText, decimalsOf } from "../../platform/money.ts";
import { english } from "./texts-en.ts";
import { german } from "./texts-de.ts";
import type { Texts } from "./texts.ts";

/** Every language that mails are written in, by its code. */
const LANGUAGES = { en: english, de: german } as const satisfies Readonly<Record<string, Texts>>;

export type Language = keyof typeof LANGUAGES;

export const languages = Object.keys(LANGUAGES) as Language[];

/** The words of a mail, and how it writes amounts. */
export interface MailLocale {
  readonly language: Language;
  /** A BCP 47 tag of this language, for Intl: `de-AT` where the words are `de`. */
  readonly formats: string;
  readonly texts: Texts;
}

/** By a user's own tag where there are words for its language; else as the shop has it. */
export function mailLocaleOf(tag: string, shopLanguage: Language): MailLocale {
  const [known] = canonical(tag);
  const language = known === undefined ? undefined : new Intl.Locale(known).language;
  if (known !== undefined && isLanguage(language)) return { language, formats: known, texts: LANGUAGES[language] };
  return { language: shopLanguage, formats: shopLanguage, texts: LANGUAGES[shopLanguage] };
}

function isLanguage(language: string | undefined): language is Language {
  return language !== undefined && Object.hasOwn(LANGUAGES, language);
}

/** The tag as the standard writes it; none for one that is empty or no tag. */
function canonical(tag: string): string[] {
  try {
    return tag === "" ? [] : Intl.getCanonicalLocales(tag);
  } catch {
    return [];
  }
}

/** An amount as the locale writes it, exact: minor units are put into a decimal text, never into a float. */
export function formatMoney(formats: string, { currency, minor }: { currency: string; minor: string }): string {
  const digits = decimalsOf(currency);
  const format = new Intl.NumberFormat(formats, {
    style: "currency",
    currency,
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  return format.format(decimalText({ currency, minor: BigInt(minor) }) as Intl.StringNumericLiteral);
}
