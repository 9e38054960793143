import { expect, test } from "vitest";
import { writtenName } from "./written-name.ts";

test.each(["Ada Lovelace", "J. R. R. Tolkien", "Dr. Käthe O'Neill-Müller", "李小龍", "Anna (2.)"])(
  "%s is a name",
  (name) => {
    expect(writtenName(name)).toBe(name);
  },
);

test.each([
  "You won! https://evil.example/prize",
  "Ring us: evil.example",
  "www.evil.example",
  "eve@evil.example",
  "http://192.0.2.1/",
  "bücher.example",
])("%s is none", (name) => {
  expect(writtenName(name)).toBe("");
});

test("a name is one line", () => {
  expect(writtenName(" Ada\r\nBcc: eve\u2028Lovelace ")).toBe("Ada Bcc: eve Lovelace");
});
