/** The words that a new role is written with. */
export interface Words {
  /** `wishlist` */
  readonly role: string;
  /** `Wishlist` */
  readonly Role: string;
  /** `wishlists`: the table, and several of them in a sentence. */
  readonly roles: string;
  /** `WISHLIST` */
  readonly ROLE: string;
}

export function wordsOf(role: string): Words {
  const roles = /[^aeiou]y$/.test(role)
    ? `${role.slice(0, -1)}ies`
    : /(?:s|x|z|ch|sh)$/.test(role)
      ? `${role}es`
      : `${role}s`;
  return { role, Role: role.charAt(0).toUpperCase() + role.slice(1), roles, ROLE: role.toUpperCase() };
}

/** The files of a new role by their path from the root; the generators write the others. */
export function filesOf(words: Words, migration: string): Readonly<Record<string, string>> {
  const { role } = words;
  return {
    [`proto/commerce/${role}/v1/${role}.proto`]: proto(words),
    [`migrations/${role}/${migration}.ts`]: firstMigration(words),
    [`src/roles/${role}/index.ts`]: index(words),
    [`src/roles/${role}/rpc.ts`]: rpc(words),
    [`src/roles/${role}/schema.ts`]: schema(words),
    [`src/roles/${role}/store.ts`]: store(words),
    [`src/roles/${role}/errors.ts`]: errors(words),
    [`tests/roles/${role}.test.ts`]: test(words),
  };
}

const proto = ({ role, Role, roles, ROLE }: Words) => `syntax = "proto3";

// The ${roles} of the shop.
package commerce.${role}.v1;

import "buf/validate/validate.proto";
import "commerce/common/v1/access.proto";
import "google/api/annotations.proto";
import "google/protobuf/timestamp.proto";

// Creating and reading ${roles}.
service ${Role}Service {
  // Creates a ${role}. Answers NAME_TAKEN where another one has the name, whatever its case.
  rpc Create${Role}(Create${Role}Request) returns (Create${Role}Response) {
    option (google.api.http) = {
      post: "/api/v1/${roles}"
      body: "*"
    };
    option (commerce.common.v1.access) = {
      level: ACCESS_LEVEL_PERMISSION
      permission: "${role}.write"
    };
  }
  // Reads one ${role} by id.
  rpc Get${Role}(Get${Role}Request) returns (Get${Role}Response) {
    option (google.api.http) = {get: "/api/v1/${roles}/{id}"};
    option (commerce.common.v1.access) = {level: ACCESS_LEVEL_AUTHENTICATED};
    option idempotency_level = NO_SIDE_EFFECTS;
  }
}

// A ${role}.
message ${Role} {
  // UUIDv7.
  string id = 1;
  // As it was given; unique without regard to case.
  string name = 2;
  // Grows by one with each change.
  int32 version = 3;
  // When it was created.
  google.protobuf.Timestamp created_at = 4;
  // When it last changed.
  google.protobuf.Timestamp updated_at = 5;
}

// The reasons of this package; see commerce.common.v1.ErrorReason.
enum ${Role}ErrorReason {
  // Never sent.
  ${ROLE}_ERROR_REASON_UNSPECIFIED = 0;
  // already_exists: another ${role} has this name.
  ${ROLE}_ERROR_REASON_NAME_TAKEN = 1;
}

// See Create${Role}.
message Create${Role}Request {
  // What people call it.
  string name = 1 [(buf.validate.field).string = {
    min_len: 1
    max_len: 100
  }];
  // Up to 255 printable characters; a repeated call with the same key answers as the first did.
  string idempotency_key = 2 [(buf.validate.field).string.pattern = "^[ -~]{0,255}$"];
}

// See Create${Role}.
message Create${Role}Response {
  // The ${role} as created.
  ${Role} ${role} = 1;
}

// See Get${Role}.
message Get${Role}Request {
  // The id.
  string id = 1 [(buf.validate.field).string.uuid = true];
}

// See Get${Role}.
message Get${Role}Response {
  // The ${role}.
  ${Role} ${role} = 1;
}
`;

const firstMigration = ({ roles }: Words) => `import type { Kysely } from "kysely";
import { sql } from "kysely";

const moment = sql\`timestamptz(3)\`;

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("${roles}")
    .addColumn("id", "uuid", (column) => column.notNull())
    .addColumn("name", "text", (column) => column.notNull())
    .addColumn("version", "integer", (column) => column.notNull())
    .addColumn("created_at", moment, (column) => column.notNull())
    .addColumn("updated_at", moment, (column) => column.notNull())
    .addPrimaryKeyConstraint("${roles}_pkey", ["id"])
    .addCheckConstraint("${roles}_version_check", sql\`version > 0\`)
    .execute();
  await sql\`create unique index ${roles}_name_key on \${sql.table("${roles}")} (lower(name))\`.execute(db);

  await db.schema
    .createTable("idempotency_keys")
    .addColumn("scope", "text", (column) => column.notNull())
    .addColumn("method", "text", (column) => column.notNull())
    .addColumn("key", "text", (column) => column.notNull())
    .addColumn("request_hash", "bytea", (column) => column.notNull())
    .addColumn("response", "bytea", (column) => column.notNull())
    .addColumn("created_at", "timestamptz", (column) => column.notNull())
    .addPrimaryKeyConstraint("idempotency_keys_pkey", ["scope", "method", "key"])
    .execute();
  await db.schema.createIndex("idempotency_keys_created_at_idx").on("idempotency_keys").column("created_at").execute();
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema.dropTable("idempotency_keys").execute();
  await db.schema.dropTable("${roles}").execute();
}
`;

const index = ({ role, Role }: Words) => `import { ${Role}Service } from "#gen/commerce/${role}/v1/${role}_pb.ts";
import { serve } from "../../platform/call.ts";
import { createOnce } from "../../platform/idempotency.ts";
import { defineRole } from "../../platform/role.ts";
import { create${Role}Rpc } from "./rpc.ts";
import type { ${Role}Tables } from "./schema.ts";

export default defineRole({
  config: {},
  start(context) {
    const db = context.database<${Role}Tables>();
    return { services: [serve(${Role}Service, create${Role}Rpc({ db, once: createOnce(db), clock: context.clock }))] };
  },
});
`;

const rpc = ({ role, Role }: Words) => `import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Kysely } from "kysely";
import type { ${Role}, ${Role}Service } from "#gen/commerce/${role}/v1/${role}_pb.ts";
import {
  Create${Role}RequestSchema,
  Create${Role}ResponseSchema,
  ${Role}Schema,
} from "#gen/commerce/${role}/v1/${role}_pb.ts";
import type { Handlers } from "../../platform/call.ts";
import type { Clock } from "../../platform/clock.ts";
import { newId } from "../../platform/id.ts";
import type { Once } from "../../platform/idempotency.ts";
import { answer, claimOf } from "../../platform/idempotency.ts";
import type { ${Role}Tables } from "./schema.ts";
import type { ${Role}Row } from "./store.ts";
import { get${Role}, insert${Role} } from "./store.ts";

export interface ${Role}RpcOptions {
  readonly db: Kysely<${Role}Tables>;
  readonly once: Once<${Role}Tables>;
  readonly clock: Clock;
}

export function create${Role}Rpc({ db, once, clock }: ${Role}RpcOptions): Handlers<typeof ${Role}Service> {
  return {
    async create${Role}(request, call) {
      const claim = claimOf(call, Create${Role}RequestSchema, request);
      const outcome = await once(claim, Create${Role}ResponseSchema, async (trx) => {
        const now = clock.now();
        const row = { id: newId(), name: request.name, version: 1, created_at: now, updated_at: now };
        return create(Create${Role}ResponseSchema, { ${role}: toProto(await insert${Role}(trx, row)) });
      });
      return answer(call, outcome);
    },

    async get${Role}(request) {
      return { ${role}: toProto(await get${Role}(db, request.id.toLowerCase())) };
    },
  };
}

function toProto(row: ${Role}Row): ${Role} {
  return create(${Role}Schema, {
    id: row.id,
    name: row.name,
    version: row.version,
    createdAt: timestampFromDate(row.created_at),
    updatedAt: timestampFromDate(row.updated_at),
  });
}
`;

const schema = ({ Role, roles }: Words) => `import type { WithIdempotencyKeys } from "../../platform/idempotency.ts";

export interface ${Role}Table {
  id: string;
  /** As it was given; \`${roles}_name_key\` makes it unique in lower case. */
  name: string;
  version: number;
  created_at: Date;
  updated_at: Date;
}

export interface ${Role}Tables extends WithIdempotencyKeys {
  ${roles}: ${Role}Table;
}
`;

const store = ({ role, Role, roles }: Words) => `import type { Kysely, Selectable } from "kysely";
import { onConstraint } from "../../platform/database.ts";
import { notFound } from "../../platform/errors.ts";
import { ${role}Errors } from "./errors.ts";
import type { ${Role}Table, ${Role}Tables } from "./schema.ts";

export type ${Role}Row = Selectable<${Role}Table>;

const taken = { ${roles}_name_key: (cause: unknown) => ${role}Errors.NAME_TAKEN({ cause }) };

/** @throws AppError NAME_TAKEN */
export function insert${Role}(db: Kysely<${Role}Tables>, row: ${Role}Row): Promise<${Role}Row> {
  return onConstraint(taken, () => db.insertInto("${roles}").values(row).returningAll().executeTakeFirstOrThrow());
}

/** @throws AppError NOT_FOUND */
export async function get${Role}(db: Kysely<${Role}Tables>, id: string): Promise<${Role}Row> {
  const row = await db.selectFrom("${roles}").selectAll().where("id", "=", id).executeTakeFirst();
  if (!row) throw notFound("${role}", id);
  return row;
}
`;

const errors = ({ role, Role }: Words) => `import { defineErrors } from "../../platform/errors.ts";

/** The reasons of \`${Role}ErrorReason\`. */
export const ${role}Errors = defineErrors({
  NAME_TAKEN: ["already_exists", "A ${role} with this name exists."],
});
`;

const test = ({ role, Role }: Words) => `import { afterAll, beforeAll, expect, test } from "vitest";
import type { ${Role} } from "#gen/commerce/${role}/v1/${role}_pb.ts";
import { ${Role}Service } from "#gen/commerce/${role}/v1/${role}_pb.ts";
import { newId } from "../../src/platform/id.ts";
import definition from "../../src/roles/${role}/index.ts";
import type { TestRole } from "../support/role.ts";
import { present, refusal, replayNote, settled, startTestRole } from "../support/role.ts";

let role: TestRole;
let client: ReturnType<typeof connect>;
const connect = (of: TestRole) => of.client(${Role}Service);

beforeAll(async () => {
  role = await startTestRole("${role}", definition);
  client = connect(role);
});
afterAll(() => role[Symbol.asyncDispose]());

async function create${Role}(name: string): Promise<${Role}> {
  return present((await client.create${Role}({ name })).${role});
}

test("what Create${Role} answers, Get${Role} answers too", async () => {
  const created = await create${Role}("Any");
  expect(created).toMatchObject({ name: "Any", version: 1 });
  expect((await client.get${Role}({ id: created.id.toUpperCase() })).${role}).toEqual(created);
});

test("a name is taken once, whatever its case, also by calls at once", async () => {
  await create${Role}("Taken");
  const refused = await refusal(client.create${Role}({ name: "TAKEN" }));
  expect(refused).toMatchObject({ kind: "already_exists", reason: "NAME_TAKEN" });
  const calls = Array.from({ length: 10 }, () => client.create${Role}({ name: "Race" }));
  const { answers, reasons } = await settled(calls);
  expect(answers).toHaveLength(1);
  expect(new Set(reasons)).toEqual(new Set(["NAME_TAKEN"]));
});

test("a repeated key answers as the first call did", async () => {
  const request = { name: "Keyed", idempotencyKey: "create-1" };
  const first = await client.create${Role}(request);
  const note = replayNote();
  expect(await client.create${Role}(request, note.options)).toEqual(first);
  expect(note.replayed).toBe("true");
});

test("faulty fields and absent ids are refused", async () => {
  expect((await refusal(client.create${Role}({}))).details.fields?.map(({ field }) => field)).toEqual(["name"]);
  expect((await refusal(client.get${Role}({ id: "7" }))).details.fields?.map(({ field }) => field)).toEqual(["id"]);
  expect((await refusal(client.get${Role}({ id: newId() }))).reason).toBe("NOT_FOUND");
});

test("creating needs a permission", async () => {
  const subject = { kind: "user", id: newId(), permissions: [] } as const;
  const refused = await refusal(role.client(${Role}Service, { subject }).create${Role}({ name: "Denied" }));
  expect(refused.reason).toBe("ACCESS_DENIED");
});
`;
