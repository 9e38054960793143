import { describe, expect, test } from "vitest";
import { formatMoney, languages, mailLocaleOf } from "./locale.ts";
import { templates } from "./delivery.ts";

const plain = (text: string) => text.replaceAll(/\s/gu, " ");

describe("amounts", () => {
  test.each([
    ["de-DE", "EUR", "123456", "1.234,56 €"],
    ["en", "EUR", "123456", "€1,234.56"],
    ["en", "EUR", "5", "€0.05"],
    ["en", "EUR", "-490", "-€4.90"],
    ["en", "JPY", "1290", "¥1,290"],
    ["en", "KWD", "1290", "KWD 1.290"],
    // Minor units are those of ISO 4217, also where Intl writes none.
    ["en", "HUF", "129050", "HUF 1,290.50"],
    ["en", "IDR", "1500000", "IDR 15,000.00"],
    ["en", "IQD", "1290", "IQD 1.290"],
    // More than a float holds.
    ["en", "USD", "9223372036854775807", "$92,233,720,368,547,758.07"],
  ])("%s %s %s", (formats, currency, minor, written) => {
    expect(plain(formatMoney(formats, { currency, minor }))).toBe(written);
  });
});

test("a user's language is spoken where there are words for it", () => {
  const spoken = (tag: string) => {
    const { language, formats } = mailLocaleOf(tag, "en");
    return [language, formats];
  };
  expect(spoken("de")).toEqual(["de", "de"]);
  expect(spoken("de-at")).toEqual(["de", "de-AT"]);
  expect(spoken("en-GB")).toEqual(["en", "en-GB"]);
  for (const tag of ["fr", "", "-", "de_DE", "constructor"]) expect(spoken(tag)).toEqual(["en", "en"]);
});

test("each language has every mail, and says something everywhere", () => {
  for (const language of languages) {
    const { texts } = mailLocaleOf(language, "en");
    for (const write of Object.values(texts.mails)) {
      const text = write({ shop: "S", link: "https://s", reason: "OUT_OF_STOCK" });
      expect([text.subject, text.preview, text.heading, ...text.paragraphs, ...text.notes]).not.toContain("");
    }
    expect(Object.keys(texts.mails).sort()).toEqual(Object.keys(templates).sort());
  }
});
