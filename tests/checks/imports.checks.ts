import { registry } from "../../src/roles/registry.ts";
import { adding, beginning, replacing } from "./copy.ts";
import type { Fault } from "./fault.ts";
import { findsFaults } from "./fault.ts";

/** Code at the end of a file of the role user, and what is said of it. */
function inRole(what: string, code: string, says: string, file = "src/roles/user/change-user.ts"): Fault {
  return { what, check: "imports", plant: { [file]: adding(code) }, says: [file, says] };
}

const other = "imports src/roles/product/text.ts of another role; ask it through peers.ts";
const computed = 'imports what a text at run time says; write import("…") with a plain text';
const plain = "write a package or a plain relative path";
const environment = "reads process.env; add a key to the configuration";
const rules = "rules stand on nothing but our own types";
const production = "what runs in production uses no tests and no scripts";

findsFaults([
  // A role imports another, whatever the form.
  inRole("an import of another role", 'import { foldText } from "../product/text.ts";', other),
  inRole("one over several lines", 'import {\n  // why\n  foldText,\n} from "../product/text.ts";', other),
  inRole("one without blanks", 'import{foldText}from"../product/text.ts";', other),
  inRole("one in single quotes", "import { foldText } from '../product/text.ts';", other),
  inRole("one of types only", 'import type { A } from "../product/text.ts";', other),
  inRole("one of a type in a type", 'export type A = import("../product/text.ts").A;', other),
  inRole("one for its effects", 'import "../product/text.ts";', other),
  inRole("one with a name in quotes", 'import { "a;b" as foldText } from "../product/text.ts";', other),
  inRole("one by a way around", 'import { foldText } from "../../roles/./product/text.ts";', other),
  inRole("export from", 'export { foldText } from "../product/text.ts";', other),
  inRole("export as a text from", 'export { foldText as "a (b)" } from "../product/text.ts";', other),
  inRole("export all from", 'export * from "../product/text.ts";', other),
  inRole("export as a namespace from", 'export * as text from "../product/text.ts";', other),
  inRole("a dynamic import", 'export const lazy = () => import(\n  "../product/text.ts"\n);', other),
  inRole("a dynamic import behind a comment", 'export const lazy = () => import(/* x */ "../product/text.ts");', other),
  inRole("a dynamic import of a template", "export const lazy = () => import(`../product/text.ts`);", computed),
  inRole("a dynamic import of a variable", "export const lazy = (name: string) => import(name);", computed),
  inRole("require", 'export const text = require("../product/text.ts");', other),
  inRole(
    "a require of one's own",
    'export const text = createRequire(import.meta.url)("../product/text.ts");',
    computed,
  ),
  inRole("a built-in module by name", 'export const m = process.getBuiltinModule("node:module");', computed),
  inRole(
    "a file for a worker",
    'export const worker = new URL("../product/text.ts", import.meta.url);',
    'names the file "../product/text.ts" without importing it; import it',
  ),
  inRole("an encoded path", 'import { foldText } from "../%70roduct/text.ts";', plain),
  inRole("an absolute path", 'import { foldText } from "/product/text.ts";', plain),
  inRole("a file URL", 'import { foldText } from "file:///product/text.ts";', plain),
  inRole("a path with an escape", String.raw`import { foldText } from "../pr\u006fduct/text.ts";`, plain),
  {
    what: "another role through the index of one's own",
    check: "imports",
    plant: {
      "src/roles/user/index.ts": adding('export { foldText } from "../product/text.ts";'),
      "src/roles/user/user.ts": beginning('import { foldText } from "./index.ts";'),
    },
    says: [`src/roles/user/index.ts ${other}`],
  },
  inRole(
    "another role through the registry",
    'import { registry } from "../registry.ts";',
    "imports src/roles/registry.ts; a role stands on its own folder and on src/platform only",
  ),
  inRole(
    "another role's migration",
    'import "../../../migrations/product/202611210900-catalogue.ts";',
    "imports migrations/product/202611210900-catalogue.ts; a role stands on its own folder",
  ),
  inRole("a test's code", 'import { top } from "../../../tests/support/commands.ts";', production),
  inRole("a fixture", 'import { startServer } from "../../platform/server.fixture.ts";', production),
  {
    what: "a file that the checks do not read",
    check: "imports",
    plant: { "src/roles/user/other.mts": 'export * from "../product/text.ts";\n' },
    says: ["src/roles/user/other.mts is not a .ts file; rename it"],
  },
  {
    what: "a role in a folder with a hyphen",
    check: "imports",
    plant: { "src/roles/wish-list/wish.ts": 'export * from "../product/text.ts";\n' },
    says: [`src/roles/wish-list/wish.ts ${other}`],
  },

  // The platform, rules, SQL, messages, migrations.
  inRole(
    "a role in the platform",
    'export * from "../roles/user/user.ts";',
    "imports src/roles/user/user.ts; the platform knows no role and no command",
    "src/platform/id.ts",
  ),
  inRole("Connect in a rule", 'import { Code } from "@connectrpc/connect";', rules, "src/roles/order/pricing.ts"),
  inRole("Postgres in a rule", 'import { Client } from "pg";', rules, "src/roles/order/pricing.ts"),
  inRole(
    "Kysely in a rule, by way of another file",
    'export { openDatabase } from "../../platform/database.ts";',
    "imports src/platform/database.ts -> ",
    "src/roles/order/pricing.ts",
  ),
  inRole(
    "Connect in a rule of a sub-folder",
    'import { Code } from "@connectrpc/connect";',
    rules,
    "src/roles/order/rules/discount.ts",
  ),
  inRole("a framework in a rule of the platform", 'import "fastify";', rules, "src/platform/rules/access.ts"),
  inRole(
    "SQL outside the store",
    'import { sql } from "kysely";',
    "imports values of kysely; SQL belongs into store.ts",
    "src/roles/user/rpc.ts",
  ),
  inRole(
    "SQL outside the store, called a type",
    'import { type Kysely } from "kysely";',
    "imports values of kysely; SQL belongs into store.ts",
    "src/roles/user/rpc.ts",
  ),
  inRole(
    "messages in a store",
    'import type { User } from "#gen/commerce/user/v1/user_pb.ts";',
    "imports gen/commerce/user/v1/user_pb.ts; only index, rpc*, peers and events know messages",
    "src/roles/user/store.ts",
  ),
  inRole(
    "messages in a store, by a relative path",
    'import type { User } from "../../../gen/commerce/user/v1/user_pb.ts";',
    "imports gen/commerce/user/v1/user_pb.ts; only index, rpc*, peers and events know messages",
    "src/roles/user/store.ts",
  ),
  inRole(
    "our code in a migration",
    'import { newId } from "../../src/platform/id.ts";',
    "imports ../../src/platform/id.ts; a migration stays as it was",
    "migrations/user/202611210900-users.ts",
  ),

  // The environment.
  inRole("process.env", 'export const a = process.env["A"];', environment),
  inRole("process.env over two lines", "export const a = process\n  .env;", environment),
  inRole("process.env, if there is one", "export const a = process?.env;", environment),
  inRole("process.env as a text", 'export const a = process["env"];', environment),
  inRole("env taken out of process", "export const { env } = process;", environment),
  inRole("process as a value", 'export const a: unknown = Reflect.get(process, "env");', environment),
  inRole("env from the module", 'import { env } from "node:process";', environment),

  // Circles, and names.
  {
    what: "a circle of imports",
    check: "imports",
    plant: {
      "src/roles/order/pricing.ts": beginning('import { canCancel } from "./order.ts";'),
      "src/roles/order/order.ts": replacing("import type { Adjustment, PricedLine }", "import { priceOrder }"),
    },
    says: ["a circle of imports, break it: src/roles/order/order.ts -> src/roles/order/pricing.ts -> "],
  },
  inRole(
    "a list of all roles",
    `export const all = ${JSON.stringify(Object.keys(registry))};`,
    "names every role; take them from the registry",
    "src/commands/banner.ts",
  ),
  inRole(
    "a role's name in the platform",
    'export const a = "order";',
    'has the name of the role "order"',
    "src/platform/id.ts",
  ),
]);
