import { adding, replacing } from "./copy.ts";
import { findsFaults } from "./fault.ts";

const user = "proto/commerce/user/v1/user.proto";
const comment = "each rpc, message, field, enum and value has a comment";
const keep = "keep the old field or method below proto/ and add a new one";
const migration = "migrations/user/202611210900-users.ts";
const later = "migrations/user/202711210900-notes.ts";
const notes = (down: string) => `import type { Kysely } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.createTable("notes").addColumn("id", "uuid").execute();
}
${down}`;

findsFaults([
  // Comments, access, clients of the last release.
  {
    what: "a field without a comment",
    check: "buf",
    plant: { [user]: replacing("  // UUIDv7.\n", "") },
    says: [user, 'Field "id" should have a non-empty comment', comment],
  },
  {
    what: "an rpc without a comment",
    check: "buf",
    plant: { [user]: replacing("  // Lists users, newest first, a page at a time.\n", "") },
    says: [user, 'RPC "ListUsers" should have a non-empty comment', comment],
  },
  {
    what: "a message without a comment",
    check: "buf",
    plant: { [user]: replacing("// A user.\n", "") },
    says: [user, 'Message "User" should have a non-empty comment', comment],
  },
  {
    what: "an rpc without an access option",
    check: "access",
    plant: {
      [user]: replacing("    option (commerce.common.v1.access) = {level: ACCESS_LEVEL_PUBLIC};\n", ""),
    },
    says: [`${user}: UserService.CreateUser does not say who may call it`, "option (commerce.common.v1.access)"],
  },
  {
    what: "an access option that says nothing",
    check: "access",
    plant: { [user]: replacing("{level: ACCESS_LEVEL_PUBLIC}", "{}") },
    says: [`${user}: UserService.CreateUser does not say who may call it`],
  },
  {
    what: "an rpc for a permission without a name",
    check: "access",
    plant: { [user]: replacing('permission: "user.read"', 'permission: ""') },
    says: [`${user}: UserService.ListUsers: a permission belongs to ACCESS_LEVEL_PERMISSION`],
  },
  {
    what: "a field with another number",
    check: "breaking",
    plant: { [user]: replacing("string display_name = 3 [", "string display_name = 13 [") },
    says: ["proto/commerce/user/v1/user.proto", 'Previously present field "3"', keep],
  },
  {
    what: "an rpc that the table of who may call what lacks",
    check: "access",
    plant: { "tests/journeys/access-matrix.ts": (text) => text.replace(/^GetUser .*\n/m, "") },
    says: ["tests/journeys/access-matrix.ts has no row for commerce.user.v1.UserService/GetUser"],
  },
  {
    what: "an rpc without a path of its own, and two with the same",
    check: "http",
    plant: {
      [user]: (text) => {
        const gone = text.replace('    option (google.api.http) = {get: "/api/v1/users/{id}"};\n', "");
        return gone.replace('post: "/api/v1/users/{id}:reactivate"', 'post: "/api/v1/users/{who}:deactivate"');
      },
    },
    says: ["UserService.GetUser has no google.api.http option", "has no field who"],
  },
  {
    what: "a path of two rpcs",
    check: "http",
    plant: { [user]: replacing('post: "/api/v1/users/{id}:reactivate"', 'post: "/api/v1/users/{id}:deactivate"') },
    says: ["DeactivateUser and ReactivateUser both serve /api/v1/users/{id}:deactivate"],
  },
  {
    what: "an rpc that is gone",
    check: "breaking",
    plant: {
      [user]: (text) => text.replace(/ {2}\/\/ Lets a deactivated[\s\S]*?\n {2}\}\n/, ""),
    },
    says: ["proto/commerce/user/v1/user.proto", 'Previously present RPC "ReactivateUser"', keep],
  },

  // What is generated of the contract, or copied beside it.
  {
    what: "gen/ that is older than the contract, or has more",
    check: "generated",
    plant: { [user]: replacing("// A user.", "// Somebody."), "gen/commerce/user/v1/more_pb.ts": "export {};\n" },
    says: ["differs: gen/commerce/user/v1/user_pb.ts", "differs: gen/commerce/user/v1/more_pb.ts", "npm run generate"],
  },
  {
    what: "a changed proto file of a package",
    check: "vendored",
    plant: { "proto/third_party/google/api/http.proto": adding("// More.") },
    says: ["differs: proto/third_party/google/api/http.proto", "Run: node scripts/vendor-protos.ts"],
  },

  // Migrations.
  {
    what: "a migration without down",
    check: "migrations",
    plant: { [later]: notes("") },
    says: [`${later} must export up and down`],
  },
  {
    what: "a down that leaves something",
    check: "migrations",
    plant: {
      [later]: notes("\nexport async function down(): Promise<void> {}\n"),
    },
    says: [`${later}: down does not undo up: create table notes ( is left`, "correct the migration's up and down"],
  },
  {
    what: "a down that takes too much",
    check: "migrations",
    plant: {
      [later]: notes(`
export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema.dropTable("notes").execute();
  await db.schema.dropIndex("users_state_id_idx").execute();
}
`),
    },
    says: [
      `${later}: down does not undo up: CREATE INDEX users_state_id_idx`,
      " is gone",
      "correct the migration's up and down",
    ],
  },
  {
    what: "a down that fails",
    check: "migrations",
    plant: { [migration]: replacing('dropTable("users")', 'dropTable("people")') },
    says: [`${migration}: table "people" does not exist`],
  },
  {
    what: "a schema.sql and a data model that are stale",
    check: "migrations",
    plant: {
      "migrations/user/schema.sql": replacing("users_state_id_idx", "users_state_idx"),
      "docs/data-model.md": replacing("bytea request_hash", "text request_hash"),
    },
    says: [
      "migrations/user/schema.sql is not current at line",
      "docs/data-model.md is not current at line",
      "Run: npm run dump-schema",
    ],
  },

  // The reasons of errors.
  {
    what: "a reason that the page does not have",
    check: "errors",
    plant: { "docs/errors.md": (text) => text.replace(/^\| `EMAIL_TAKEN`.*\n/m, "") },
    says: ["docs/errors.md is not current at line", "Run: npm run docs"],
  },
  {
    what: "a reason that the code does not have",
    check: "errors",
    plant: {
      [user]: replacing(
        "  USER_ERROR_REASON_EMAIL_TAKEN = 1;\n",
        "  USER_ERROR_REASON_EMAIL_TAKEN = 1;\n  // not_found: nobody is there.\n  USER_ERROR_REASON_NOBODY = 99;\n",
      ),
    },
    says: ["NOBODY: missing in src/roles/user/errors.ts, not_found in the ErrorReason of user"],
  },
  {
    what: "a reason that the contract does not have",
    check: "errors",
    plant: {
      "src/roles/user/errors.ts": replacing(
        "defineErrors({\n",
        'defineErrors({\n  NOBODY: ["not_found", "Nobody."],\n',
      ),
    },
    says: ["NOBODY: not_found in src/roles/user/errors.ts, missing in the ErrorReason of user"],
  },
]);
