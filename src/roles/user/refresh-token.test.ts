import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { newRefreshToken, parseRefreshToken, successorOf } from "./refresh-token.ts";

const key = Buffer.alloc(32, 7);

test("a token is 256 random bits in base64url, known by its SHA-256", () => {
  const token = newRefreshToken();
  expect(token.text).toMatch(/^[\w-]{43}$/);
  expect(token.hash).toEqual(createHash("sha256").update(Buffer.from(token.text, "base64url")).digest());
  expect(parseRefreshToken(token.text)).toEqual(token);
  expect(newRefreshToken().text).not.toBe(token.text);
});

test("a token has one spelling", () => {
  const { text } = { text: Buffer.alloc(32).toString("base64url") };
  expect(parseRefreshToken(text)).toBeDefined();
  for (const other of [
    `${text}=`,
    `${text.slice(0, -1)}B`,
    `${text}\n`,
    `${text}AA`,
    text.slice(1),
    "",
    "é".repeat(43),
  ]) {
    expect(parseRefreshToken(other)).toBeUndefined();
  }
});

test("its successor is always the same, and another under another key", () => {
  const token = newRefreshToken();
  expect(successorOf(token, key)).toEqual(successorOf(token, key));
  expect(successorOf(token, key).text).not.toBe(token.text);
  expect(successorOf(token, Buffer.alloc(32, 8)).text).not.toBe(successorOf(token, key).text);
});
