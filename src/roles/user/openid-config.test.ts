import { expect, test } from "vitest";
import { parseOpenIdProviders, parseRedirectUrl } from "./openid-config.ts";

const client = { client_id: "the shop", client_secret: "a secret" };
const parse = (providers: unknown) => parseOpenIdProviders(JSON.stringify(providers));

test("providers by their names, with what may be left out", () => {
  const given = {
    google: { issuer: "https://accounts.google.com", ...client },
    "our-own": {
      label: "Our own",
      issuer: "http://localhost:8090/realms/shop",
      scopes: "openid email",
      client_auth: "client_secret_post",
      ...client,
    },
  };
  expect(parse(given)).toEqual([
    {
      name: "google",
      label: "google",
      issuer: new URL("https://accounts.google.com"),
      clientId: "the shop",
      clientSecret: "a secret",
      scopes: "openid email profile",
      clientAuth: undefined,
    },
    {
      name: "our-own",
      label: "Our own",
      issuer: new URL("http://localhost:8090/realms/shop"),
      clientId: "the shop",
      clientSecret: "a secret",
      scopes: "openid email",
      clientAuth: "client_secret_post",
    },
  ]);
  expect(parse({})).toEqual([]);
});

test("all that is wrong is told at once, and no value is quoted", () => {
  const faulty = {
    one: { issuer: "http://shop.example.com", client_id: "", scopes: "email", color: "secret" },
    two: { issuer: "https://user:secret@two.example", ...client, client_auth: "secret", label: 7 },
    "s3cret!": {},
    four: "secret",
  };
  let said = "";
  try {
    parse(faulty);
  } catch (error) {
    said = (error as Error).message;
  }
  expect(said.split("; ")).toEqual([
    "one.client_id must be a text",
    "one.client_secret must be a text",
    "one has other keys than label, issuer, client_id, client_secret, scopes, client_auth",
    "one.issuer must be an https:// address, or an http:// one of this machine",
    "one.scopes must be a text with openid in it",
    "two.issuer must be an https:// address, or an http:// one of this machine",
    "two.label must be a text of up to 60 characters",
    "two.client_auth must be one of client_secret_basic, client_secret_post",
    "a provider's name must be up to 40 of a-z, 0-9 and -",
    "four must be an object",
  ]);
});

test.each(["secret", "[]", "7", '{"google":'])("what is no object of providers: %s", (input) => {
  expect(() => parseOpenIdProviders(input)).toThrow(/^must be a JSON object of providers by their names$/);
});

test.each([
  "http://127.0.0.1.example.com",
  "http://10.0.0.1",
  "http://localhost.example.com",
  "ftp://localhost",
  "localhost",
])("an issuer that others may read: %s", (issuer) => {
  expect(() => parse({ one: { issuer, ...client } })).toThrow("one.issuer");
});

test("two providers of one issuer would be one and the same", () => {
  const issuer = "https://accounts.example.com";
  const twice = { one: { issuer, ...client }, two: { issuer: `${issuer}/`, ...client } };
  expect(() => parse(twice)).toThrow("two providers with one issuer");
});

test("the page that browsers come back to is one address, for nobody else to read", () => {
  const good = ["https://shop.example.com/logged-in", "http://localhost:5173/logged-in", "http://[::1]:8080/"];
  expect(good.map(parseRedirectUrl)).toEqual(good);
  const others = [
    "https://u@shop.example.com/",
    "https://shop.example.com/?a=1",
    "https://shop.example.com/#a",
    "shop",
  ];
  for (const bad of ["http://shop.example.com/", ...others]) {
    expect(() => parseRedirectUrl(bad)).toThrow("must be an https:// address without");
  }
});
