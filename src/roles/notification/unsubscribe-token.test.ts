import { expect, test } from "vitest";
import { issueUnsubscribeToken, parseUnsubscribeToken } from "./unsubscribe-token.ts";

const key = Buffer.alloc(32, 1);
const wish = { userId: "0199d2f0-0000-7000-8000-0000000000ad", topic: "orders", channel: "email" } as const;

test("a token says whose mails of what, and no other key's, no other spelling and no change of it does", () => {
  const token = issueUnsubscribeToken(key, wish);
  expect(token).toMatch(/^[\w-]+$/);
  expect(parseUnsubscribeToken(key, token)).toEqual(wish);
  expect(parseUnsubscribeToken(Buffer.alloc(32, 2), token)).toBeUndefined();
  for (let at = 0; at < token.length; at += 1) {
    const other = token[at] === "A" ? "B" : "A";
    expect(parseUnsubscribeToken(key, token.slice(0, at) + other + token.slice(at + 1))).toBeUndefined();
    expect(parseUnsubscribeToken(key, token.slice(0, at))).toBeUndefined();
  }
  expect(parseUnsubscribeToken(key, `${token}=`)).toBeUndefined();
});

test("mails about the account do not end by a token", () => {
  expect(parseUnsubscribeToken(key, issueUnsubscribeToken(key, { ...wish, topic: "account" }))).toBeUndefined();
});
