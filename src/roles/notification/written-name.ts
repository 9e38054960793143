/** What mail programs make a link of, or may: addresses of pages and of mails, and bare hosts. */
const LINK = /:\/\/|[\p{L}\p{N}]\.\p{L}{2,}/u;

/** Without line breaks and other control characters: what somebody calls themselves must not look like our own words. */
export function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ").trim();
}

/**
 * How a mail addresses somebody; empty where the name has a link. Anybody may sign somebody else's address up, under any
 * name: the shop's mails are not to carry what is written there.
 */
export function writtenName(displayName: string): string {
  const name = oneLine(displayName);
  return LINK.test(name) ? "" : name;
}
