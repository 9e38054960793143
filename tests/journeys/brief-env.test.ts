import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Client } from "pg";
import { afterEach, beforeEach, describe, expect, inject, test } from "vitest";
import { OrderState, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { withDatabase } from "../../src/platform/database-create.ts";
import type { Folder } from "../support/folders.ts";
import { makeFolder } from "../support/folders.ts";
import { addStocked } from "../support/checkout.ts";
import { EVENTS, owners } from "../support/installation.ts";
import { admin as account, createAccount } from "../support/accounts.ts";
import { freePort } from "../support/ports.ts";
import type { ServerProcess } from "../support/process.ts";
import { startProcess } from "../support/process.ts";
import { clientsOf, protocols } from "../support/protocols.ts";

/** What a shop without ROLE makes on the server that it is given. The server is that of the whole run. */
const databases = [...owners.map((role) => `${role}db`), EVENTS].sort();

interface Values {
  readonly server: URL;
  /** Where the gateway is to listen. */
  readonly gateway: number;
  /** A port on which there is nothing. */
  readonly closed: number;
}

/** Files with the keys of the brief; what is given for the roles that run here is not where they are. */
const files = {
  "references in DATABASE_URL": ({ server, gateway, closed }: Values) => `# Postgres
POSTGRES_HOST = ${server.hostname}
POSTGRES_PORT=${server.port}
POSTGRES_DATABASE = "commerce"
POSTGRES_USER='${server.username}'
POSTGRES_PASSWORD = '${server.password}'
DATABASE_URL = "postgresql://\${POSTGRES_USER}:\${POSTGRES_PASSWORD}@\${POSTGRES_HOST}:\${POSTGRES_PORT}/\${POSTGRES_DATABASE}?sslmode=disable"

# Services
USERSERVICE_HOST = "user-service"
USERSERVICE_PORT=${String(closed)}
APIGATEWAY_HOST = api-gateway
APIGATEWAY_PORT = ${String(gateway)} # 8080 usually
`,
  "an empty DATABASE_URL, from an editor on Windows": ({ server, gateway, closed }: Values) =>
    [
      `\uFEFFPOSTGRES_PORT = "${server.port}"`,
      `POSTGRES_HOST=${server.hostname}`,
      "POSTGRES_DATABASE=",
      `POSTGRES_USER= ${server.username}`,
      `POSTGRES_PASSWORD =${server.password}`,
      "DATABASE_URL = ",
      "USERSERVICE_HOST=",
      `USERSERVICE_PORT=${String(closed)}`,
      "APIGATEWAY_HOST=0.0.0.0",
      `APIGATEWAY_PORT='${String(gateway)}'`,
    ].join("\r\n"),
  "a DATABASE_URL that wins over POSTGRES_*": ({ server, gateway, closed }: Values) => `
DATABASE_URL=${server.href}
POSTGRES_HOST=127.0.0.1
POSTGRES_PORT=${String(closed)}
POSTGRES_DATABASE=commerce
POSTGRES_USER=nobody
POSTGRES_PASSWORD=wrong
USERSERVICE_HOST=localhost
USERSERVICE_PORT=${String(closed)}
APIGATEWAY_HOST=localhost
APIGATEWAY_PORT=${String(gateway)}
`,
};

describe("the .env of the brief starts the whole shop as it stands", () => {
  const server = new URL(inject("postgresUrl"));
  let admin: Client;
  let folder: Folder;
  let shop: ServerProcess | undefined;
  beforeEach(async () => {
    folder = await makeFolder();
    admin = new Client({ connectionString: server.href });
    await admin.connect();
    await dropDatabases();
  });
  afterEach(async () => {
    await shop?.[Symbol.asyncDispose]();
    shop = undefined;
    await dropDatabases();
    await admin.end();
    await folder[Symbol.asyncDispose]();
  });

  async function dropDatabases(): Promise<void> {
    for (const name of databases) await admin.query(`drop database if exists ${name} with (force)`);
  }

  async function existing(): Promise<string[]> {
    const { rows } = await admin.query<{ datname: string }>(
      "select datname from pg_database where datname = any($1) order by datname",
      [[...databases, "commerce"]],
    );
    return rows.map(({ datname }) => datname);
  }

  test.each(Object.entries(files))("with %s", async (_name, file) => {
    const [gateway, closed] = await Promise.all([freePort(), freePort()]);
    await writeFile(join(folder.path, ".env"), file({ server, gateway, closed }));
    expect(await existing()).toEqual([]);

    shop = await startProcess({}, folder.path);
    expect(shop.ports).toEqual({ gateway });
    expect(await existing()).toEqual(databases);
    // No Postgres of its own beside the given one.
    expect(existsSync(join(folder.path, ".data", "postgres"))).toBe(false);

    const url = `http://localhost:${String(gateway)}`;
    const answer = await fetch(`${url}/commerce.user.v1.UserService/CreateUser`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ email: "ada@example.com" }),
    });
    expect(answer.status).toBe(200);
    const { user } = (await answer.json()) as { user: { id: string } };

    await createAccount(url, account, withDatabase(server.href, "userdb"), ["admin"]);
    const clients = clientsOf(protocols["Connect JSON"](url));
    const sku = await addStocked(clients, { main: 2 });
    const waitFor = WaitFor.SETTLED;
    const { order } = await clients.orders.createOrder({ userId: user.id, items: [{ sku, quantity: 2 }], waitFor });
    expect(order?.state).toBe(OrderState.CONFIRMED);
    expect(order?.itemsAmount).toMatchObject({ currencyCode: "EUR", amountMinor: 2580n });
    expect(await idsIn("userdb", "users")).toContain(user.id);
    expect(await idsIn("orderdb", "orders")).toEqual([order?.id]);
  });

  async function idsIn(database: string, table: string): Promise<string[]> {
    const client = new Client({ connectionString: withDatabase(server.href, database) });
    await client.connect();
    try {
      const { rows } = await client.query<{ id: string }>(`select id from ${client.escapeIdentifier(table)}`);
      return rows.map(({ id }) => id);
    } finally {
      await client.end();
    }
  }
});
