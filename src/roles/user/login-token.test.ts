import { createHash, randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { LOGIN_MS, challengeOf, issueLoginToken, newLogin, openLoginToken } from "./login-token.ts";

const secret = randomBytes(32);
const now = new Date("2026-11-21T12:00:00Z");
const later = (ms: number) => new Date(now.getTime() + ms);
const login = newLogin({ provider: "google", returnTo: "/cart", userId: undefined });
const token = issueLoginToken(secret, login, now);

test("a token is opened until its time is over, and shows nothing of its login", () => {
  const opened = openLoginToken(secret, token, later(LOGIN_MS - 1));
  expect(opened?.login).toEqual(login);
  expect(opened).toMatchObject({ expiresAt: later(LOGIN_MS) });
  expect(opened?.hash).toEqual(createHash("sha256").update(Buffer.from(token, "base64url")).digest());
  expect(openLoginToken(secret, token, later(LOGIN_MS))).toBeUndefined();
  expect(Buffer.from(token, "base64url").includes(login.verifier)).toBe(false);
  const linking = newLogin({ provider: "google", returnTo: "", userId: "a user" });
  expect(openLoginToken(secret, issueLoginToken(secret, linking, now), now)?.login).toEqual(linking);
});

test("what was not given out is no token", () => {
  const changed = Buffer.from(token, "base64url");
  changed.writeUInt8(changed.readUInt8(40) ^ 1, 40);
  const wrong = ["", "none", `${token}=`, token.slice(0, -1), token.slice(0, 20), changed.toString("base64url")];
  expect(wrong.map((text) => openLoginToken(secret, text, now))).toEqual(wrong.map(() => undefined));
  expect(openLoginToken(randomBytes(32), token, now)).toBeUndefined();
});

test("a challenge is that of RFC 7636, appendix B", () => {
  const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
  expect(challengeOf({ ...login, verifier })).toBe("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
});

test("no two logins share a value", () => {
  const values = [login, newLogin(login)].flatMap(({ state, nonce, verifier }) => [state, nonce, verifier]);
  expect(new Set(values).size).toBe(6);
});
