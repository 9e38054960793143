import { expect, test } from "vitest";
import { shownName, verifiedEmail } from "./identity.ts";

const email = "ada@example.com";

test("an email counts where the provider vouches for it, and where it is one", () => {
  for (const yes of [true, "true"]) expect(verifiedEmail({ email, email_verified: yes })).toBe(email);
  for (const no of [false, "false", "", 1, null, undefined, {}]) {
    expect(verifiedEmail({ email, email_verified: no })).toBeUndefined();
  }
  const none = [
    "",
    "ada",
    "ada@",
    "@example.com",
    "a da@example.com",
    "ada@exam\u0131ple.com",
    "ada@example.com\n",
    7,
    null,
  ];
  for (const text of [...none, undefined, `${"a".repeat(250)}@example.com`]) {
    expect(verifiedEmail({ email: text, email_verified: true })).toBeUndefined();
  }
});

test("a name is shown without control characters, and not longer than names are", () => {
  expect(shownName({ name: " Ada\u0000 \u0007Lovelace\n" })).toBe("Ada Lovelace");
  expect(shownName({ name: "\u{1f98a}".repeat(101) })).toBe("\u{1f98a}".repeat(100));
  for (const name of [undefined, null, 7, {}, "", "\n"]) expect(shownName({ name })).toBe("");
});
