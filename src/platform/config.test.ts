import { describe, expect, test } from "vitest";
import { ConfigError, namedRoles, parseConfig, wholeNumber } from "./config.ts";
import { mergeEnvironment } from "./environment.ts";

const known = {
  gateway: { port: 8080, database: false, edge: true, alias: "APIGATEWAY", config: {} },
  user: { port: 8081, database: true, edge: false, config: {} },
  order: { port: 8083, database: true, edge: false, config: { ORDER_LIMIT: wholeNumber(1, 9)({ default: 5 }) } },
};
const secret = { TOKEN_SECRET: "x".repeat(32) };

function parse(environment: Record<string, string>) {
  return parseConfig(environment, known, namedRoles(environment, Object.keys(known)));
}

function problems(environment: Record<string, string>): readonly string[] {
  try {
    parse(environment);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

describe("the environment", () => {
  test("wins over the file; empty means unset; the file's values may name others", () => {
    const file = { A: "file", B: "file", C: " spaced ", URL: "postgres://${C}@${A}", D: "" };
    expect(mergeEnvironment({ A: "env", B: "" }, file)).toEqual({
      A: "env",
      B: "file",
      C: "spaced",
      URL: "postgres://spaced@env",
    });
  });
});

describe("roles", () => {
  test("none or all is all; a list is that list; an unknown one is answered with those there are", () => {
    expect(namedRoles({}, ["user"])).toBeUndefined();
    expect(namedRoles({ ROLE: "all" }, ["user"])).toBeUndefined();
    expect(namedRoles({ ROLE: "user, Order,user" }, ["user", "order"])).toEqual(["user", "order"]);
    expect(() => namedRoles({ ROLE: "usr" }, ["user", "order"])).toThrow(/no role usr; there are user, order/);
  });
});

describe("problems", () => {
  test("all of them are listed at once", () => {
    const found = problems({
      ROLE: "order",
      PORT: "99999",
      DATABASE_URL: "mysql://x",
      ORDER_LIMIT: "0",
      USER_URL: "x",
    });
    expect(new Set(found.map((problem) => problem.split(":")[0]))).toEqual(
      new Set(["DATABASE_URL", "ORDER_LIMIT", "PORT", "TOKEN_SECRET", "USER_URL"]),
    );
  });

  test("a listed role needs a database and the installation's secret; all of them in one process bring their own", () => {
    expect(problems({ ROLE: "user" })).toHaveLength(2);
    expect(problems({ ROLE: "gateway", ...secret, BUS_URL: "amqp://broker" })).toEqual([]);
    expect(problems({})).toEqual([]);
    expect(parse({}).databases).toBeUndefined();
  });

  test("a bus is needed, which is beside the databases where nothing else is said", () => {
    const own = { ROLE: "user", ...secret, USER_DATABASE_URL: "postgres://h/u" };
    expect(problems(own)).toEqual(["BUS_URL: is missing, as are DATABASE_URL and POSTGRES_HOST"]);
    expect(problems({ ...own, BUS_URL: "kafka://h" })).toEqual(["BUS_URL: must be a postgres:// or amqp:// address"]);
    expect(parse({ ...own, BUS_URL: "amqp://broker/shop" }).bus).toBe("amqp://broker/shop");
    expect(parse({ ...own, DATABASE_URL: "postgres://me@db/named" }).bus).toBe("postgres://me@db/events");
    expect(parse({ ...own, POSTGRES_HOST: "db" }).bus).toBe("postgres://postgres@db:5432/events");
    expect(parse({}).bus).toBeUndefined();
  });

  test("the shop's address is told without a slash at its end", () => {
    expect(parse({ PUBLIC_URL: "https://shop.example/de/" }).publicUrl).toBe("https://shop.example/de");
    expect(problems({ PUBLIC_URL: "shop.example" })).toHaveLength(1);
    expect(problems({ PUBLIC_URL: "https://shop.example/#x" })).toHaveLength(1);
    expect(problems({ PUBLIC_URL: "https://ada:hunter2@shop.example" })).toEqual([
      "PUBLIC_URL: must be an address without a user",
    ]);
  });

  test("origins are those that browsers send: no pattern, no path, no default port, none without a host", () => {
    const origins = "https://shop.example, http://localhost:5173,http://[::1]:8080";
    expect(parse({ CORS_ORIGINS: origins }).corsOrigins).toEqual([
      "https://shop.example",
      "http://localhost:5173",
      "http://[::1]:8080",
    ]);
    expect(parse({}).corsOrigins).toEqual([]);
    const bad = [
      "*",
      "null",
      "https://*.shop.example",
      "shop.example",
      "//shop.example",
      "ftp://shop.example",
      "https://",
    ];
    for (const origin of [...bad, "https://a.example,", "https://a.example,,https://b.example"]) {
      expect(problems({ CORS_ORIGINS: origin })).toEqual([
        expect.stringMatching(/^CORS_ORIGINS: must be origins, each in full as https:\/\/shop\.example\.com, not "/),
      ]);
    }
    for (const origin of [
      "https://shop.example/",
      "https://shop.example/cart",
      "https://shop.example?",
      "https://shop.example#",
      "https://shop.example:443",
      "https://Shop.example",
      "HTTPS://shop.example",
    ]) {
      expect(problems({ CORS_ORIGINS: origin })).toEqual([
        `CORS_ORIGINS: must be origins as browsers write them, without a path: "https://shop.example", not "${origin}"`,
      ]);
    }
    expect(problems({ CORS_ORIGINS: "https://ada:hunter2@shop.example" })).toEqual([
      "CORS_ORIGINS: must be origins without a user",
    ]);
  });

  test("where all run and one has a database of its own, the others need one too", () => {
    expect(problems({ USER_DATABASE_URL: "postgres://h/u" })).toEqual([
      "ORDER_DATABASE_URL: is missing, as are DATABASE_URL and POSTGRES_HOST",
    ]);
  });
});

describe("databases", () => {
  test("a role's own address comes first, then DATABASE_URL, then POSTGRES_*", () => {
    const environment = {
      ROLE: "user",
      ...secret,
      POSTGRES_HOST: "db",
      POSTGRES_PORT: "6000",
      POSTGRES_DATABASE: "shop",
      POSTGRES_USER: "me",
      POSTGRES_PASSWORD: "p@ss/word",
    };
    expect(parse(environment).databases).toEqual({ user: "postgres://me:p%40ss%2Fword@db:6000/shop" });
    const url = { ...environment, DATABASE_URL: "postgres://other/x" };
    expect(parse(url).databases).toEqual({ user: "postgres://other/x" });
    expect(parse({ ...url, USER_DATABASE_URL: "postgres://own/y" }).databases).toEqual({ user: "postgres://own/y" });
  });

  test("for several roles an address names the server, and each uses its own database there", () => {
    const environment = { DATABASE_URL: "postgres://me@db:5433/whatever?sslmode=disable" };
    expect(parse(environment).databases).toEqual({
      user: "postgres://me@db:5433/userdb?sslmode=disable",
      order: "postgres://me@db:5433/orderdb?sslmode=disable",
    });
    expect(parse({ ROLE: "user", ...secret, DATABASE_URL: "postgres://db" }).databases).toEqual({
      user: "postgres://db/userdb",
    });
  });
});

describe("ports and addresses", () => {
  test("only the gateway's port is open where it is among the roles; PORT is its own", () => {
    expect(parse({}).listen).toEqual({ gateway: 8080 });
    expect(parse({ PORT: "9000", GATEWAY_PORT: "9001" }).listen).toEqual({ gateway: 9000 });
    expect(parse({ APIGATEWAY_PORT: "3000", USERSERVICE_PORT: "50051" }).listen).toEqual({ gateway: 3000 });
  });

  test("listed roles open their own ports; PORT counts for the only one", () => {
    const two = { ROLE: "user,order", ...secret, DATABASE_URL: "postgres://db", PORT: "9000", USER_PORT: "9001" };
    expect(parse(two).listen).toEqual({ user: 9001, order: 8083 });
    expect(parse({ ...two, ROLE: "user" }).listen).toEqual({ user: 9000 });
  });

  test("a role elsewhere is found by its URL, its alias or nearby; one that runs here is not looked for", () => {
    const bus = { BUS_URL: "amqp://broker" };
    const gateway = { ROLE: "gateway", ...secret, ...bus, USERSERVICE_HOST: "users.local", USERSERVICE_PORT: "50051" };
    const { urls } = parse({ ...gateway, ORDER_URL: "http://orders:1" });
    expect(Object.fromEntries(Object.entries(urls).map(([role, url]) => [role, url.origin]))).toEqual({
      user: "http://users.local:50051",
      order: "http://orders:1",
    });
    expect(parse(gateway).urls["order"]?.origin).toBe("http://127.0.0.1:8083");
    expect(parse({ USER_URL: "not an address" }).urls).toEqual({});
  });
  test("a role elsewhere may speak TLS", () => {
    const bus = { BUS_URL: "amqp://broker" };
    const gateway = { ROLE: "gateway", ...secret, ...bus, ORDER_URL: "https://orders:1" };
    expect(parse(gateway).urls["order"]?.href).toBe("https://orders:1/");
    expect(problems({ ...gateway, ORDER_URL: "https://orders:1/path" })).toEqual([
      'ORDER_URL: must be http://host:port or https://host:port, not "https://orders:1/path"',
    ]);
  });
});

describe("TLS", () => {
  const port = { TLS_CERT_FILE: "c.pem", TLS_KEY_FILE: "k.pem" };
  const files = (certFile: string, keyFile: string) => expect.objectContaining({ certFile, keyFile }) as unknown;

  test("the ports' pair is shown to other roles, too, unless there is another one", () => {
    expect(parse({}).tls).toEqual({ port: undefined, peer: undefined, caFile: undefined, requiresClientCerts: false });
    expect(parse({ ...port, TLS_CA_FILE: "ca.pem", TLS_CLIENT_CERTS: "required" }).tls).toEqual({
      port: files("c.pem", "k.pem"),
      peer: files("c.pem", "k.pem"),
      caFile: "ca.pem",
      requiresClientCerts: true,
    });
    const peer = { TLS_PEER_CERT_FILE: "pc.pem", TLS_PEER_KEY_FILE: "pk.pem" };
    expect(parse({ ...port, ...peer }).tls.peer).toEqual(files("pc.pem", "pk.pem"));
    expect(parse(peer).tls).toMatchObject({ port: undefined, peer: files("pc.pem", "pk.pem") });
  });
  test("halves are named, and what TLS_CLIENT_CERTS needs, all at once", () => {
    expect(problems({ TLS_CERT_FILE: "c.pem", TLS_PEER_KEY_FILE: "pk.pem", TLS_CLIENT_CERTS: "required" })).toEqual([
      "TLS_KEY_FILE: is missing, TLS_CERT_FILE needs it",
      "TLS_PEER_CERT_FILE: is missing, TLS_PEER_KEY_FILE needs it",
      "TLS_CERT_FILE: is missing, TLS_CLIENT_CERTS=required needs it",
      "TLS_CA_FILE: is missing, TLS_CLIENT_CERTS=required needs it",
    ]);
    expect(problems({ TLS_CLIENT_CERTS: "maybe" })).toHaveLength(1);
  });
});
