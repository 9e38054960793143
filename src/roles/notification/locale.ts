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

/**
 * Decimals of the currencies of ISO 4217 that do not have two. Not those of Intl: where small coins are gone it has none,
 * HUF and IDR are among these, and would make a hundred times the amount of what we are told in minor units.
 */
const DECIMALS: ReadonlyMap<string, number> = new Map([
  ..."BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(" ").map((code) => [code, 0] as const),
  ..."BHD IQD JOD KWD LYD OMR TND".split(" ").map((code) => [code, 3] as const),
  ..."CLF UYW".split(" ").map((code) => [code, 4] as const),
]);

/** An amount as the locale writes it, exact: minor units are put into a decimal text, never into a float. */
export function formatMoney(formats: string, { currency, minor }: { currency: string; minor: string }): string {
  const digits = DECIMALS.get(currency) ?? 2;
  const format = new Intl.NumberFormat(formats, {
    style: "currency",
    currency,
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  const sign = minor.startsWith("-") ? "-" : "";
  const units = minor.replace("-", "").padStart(digits + 1, "0");
  const whole = units.slice(0, units.length - digits);
  const decimal = digits === 0 ? whole : `${whole}.${units.slice(-digits)}`;
  return format.format(`${sign}${decimal}` as Intl.StringNumericLiteral);
}
