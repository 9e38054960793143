import { describe, expect, test } from "vitest";
import { parseMailUrl, parseSender } from "./mail-config.ts";

describe("MAIL_URL", () => {
  test.each([
    ["smtp://mail.example.com", { host: "mail.example.com", port: 587, secure: false, auth: undefined }],
    ["smtps://mail.example.com/", { host: "mail.example.com", port: 465, secure: true, auth: undefined }],
    [
      "smtp://shop%40example.com:p%40ss%2Fword@[::1]:2525",
      { host: "::1", port: 2525, secure: false, auth: { user: "shop@example.com", pass: "p@ss/word" } },
    ],
  ])("%s", (input, server) => {
    expect(parseMailUrl(input)).toEqual(server);
  });

  test.each([
    "mail.example.com",
    "https://user:secret@host",
    "smtp://user:secret@",
    "smtp://user:secret@host/path",
    "smtp://user:secret@host?tls=no",
    "smtp://user:secret%zz@host",
  ])("%s is none, and its password is not told", (input) => {
    let message = "";
    try {
      parseMailUrl(input);
    } catch (error) {
      message = String(error);
    }
    expect(message).not.toBe("");
    expect(message).not.toContain("secret");
  });
});

describe("MAIL_FROM", () => {
  test.each([
    ["Shop <shop@example.com>", { name: "Shop", address: "shop@example.com", host: "example.com" }],
    ['"Shop, Inc." <shop@Example.com>', { name: "Shop, Inc.", address: "shop@Example.com", host: "example.com" }],
    ["shop@localhost", { name: "", address: "shop@localhost", host: "localhost" }],
    ["<shop@localhost>", { name: "", address: "shop@localhost", host: "localhost" }],
  ])("%s", (input, sender) => {
    expect(parseSender(input)).toEqual(sender);
  });

  test.each(["", "Shop", "Shop <shop>", "a@b, c@d", "Shop <a@b> <c@d>", "Shop\r\nBcc: x <a@b>", "a@b>", "a b@c"])(
    "%j is none",
    (input) => {
      expect(() => parseSender(input)).toThrow("must be an address");
    },
  );
});
