import { expect, test } from "vitest";
import { adding, copyRepository, replacing } from "./copy.ts";
import { findsFaults } from "./fault.ts";

const addKey = (desc: string) =>
  replacing("  config: {\n", `  config: {\n    GREETING: str({ default: "Hello"${desc} }),\n`);
const withStr = (change: (text: string) => string) => (text: string) =>
  `import { str } from "envalid";\n${change(text)}`;

findsFaults([
  // Configuration.
  {
    what: "a key of the configuration that .env.example does not have",
    check: "configuration",
    plant: { "src/roles/user/index.ts": withStr(addKey(', desc: "How users are greeted"')) },
    says: [".env.example is not current at line", "docs/configuration.md is not current", "Run: npm run docs"],
  },
  {
    what: "a key that says nothing of itself",
    check: "configuration",
    plant: { "src/roles/user/index.ts": withStr(addKey("")) },
    says: ["src/roles/user/index.ts: the key GREETING has no desc; write what it means"],
  },
  {
    what: "a key of .env.example that nothing reads",
    check: "configuration",
    plant: { ".env.example": adding("GREETING=") },
    says: [".env.example is not current at line", "Run: npm run docs"],
  },
  {
    what: "a key that code reads beside the configuration",
    check: "configuration",
    plant: { "src/commands/databases.ts": replacing('env["DATA_DIR"]', 'env["DATA_FOLDER"]') },
    says: ["src/commands/databases.ts reads DATA_FOLDER, which no configuration spec has"],
  },

  // Pages.
  {
    what: "a table of roles that is stale",
    check: "docs",
    plant: { "docs/architecture.md": replacing("| user         | 8081 |", "| user         | 9081 |") },
    says: ["docs/architecture.md is not current at line", "Run: npm run docs"],
  },
  {
    what: "a table of roles that is stale in the README",
    check: "docs",
    plant: { "README.md": replacing("| user         | 8081 |", "| user         | 9081 |") },
    says: ["README.md is not current at line", "Run: npm run docs"],
  },
  {
    what: "an event whose consumers are not listed",
    check: "docs",
    plant: { "src/roles/notification/events.ts": replacing('"passwordChanged",', '"updated",') },
    says: ["docs/events.md is not current at line", "Run: npm run docs"],
  },
  {
    what: "a role that the tables lack",
    check: "docs",
    plant: { "src/roles/registry.ts": replacing("port: 8083", "port: 8084") },
    says: ["docs/architecture.md is not current at line", "README.md is not current at line"],
  },
  {
    what: "a folder that is not there",
    check: "docs",
    plant: { "docs/architecture.md": replacing("tests/support ", "tests/helpers ") },
    says: ["docs/architecture.md names tests/helpers, which is not there"],
  },
  {
    what: "a new snippet of the README that its test cannot run",
    check: "docs",
    plant: { "README.md": adding('\n```json\n{"a": 1}\n```') },
    says: ["is a snippet of json, but tests/journeys/readme.test.ts runs only sh and ts", "<!-- not run: <why> -->"],
  },
  {
    what: "a new snippet on a page that no test runs",
    check: "docs",
    plant: { "docs/configuration.md": adding("\n```sh\necho\n```") },
    says: ["docs/configuration.md:", "is a snippet of sh, but no test runs this page's", "<!-- not run: <why> -->"],
  },
  {
    what: "a snippet on a new page, fenced otherwise, without a language",
    check: "docs",
    plant: { "docs/adr/0099-later.md": "# Later\n\n- A list.\n\n  ~~~\n  echo\n  ~~~\n" },
    says: ["docs/adr/0099-later.md:6 is a snippet without a language"],
  },
  {
    what: "a page whose test does not run its snippets",
    check: "docs",
    plant: { "tests/journeys/readme.test.ts": replacing('snippetsOf("README.md")', "[]") },
    says: ["README.md:", "but no test runs this page's"],
  },
  {
    what: "a snippet of the README that calls a method of old",
    check: "docs",
    plant: { "README.md": replacing("OrderService/GetOrder ", "OrderService/FindOrder ") },
    says: ["README.md:", "calls commerce.order.v1.OrderService/FindOrder, which no proto file has; correct the page"],
  },
  {
    what: "a snippet that calls a service of old",
    check: "docs",
    plant: {
      "README.md": replacing("commerce.product.v1.ProductService/Add", "commerce.product.v1.CatalogueService/Add"),
    },
    says: ["calls commerce.product.v1.CatalogueService/AddProduct, which no proto file has"],
  },
  {
    what: "a command that is no script",
    check: "docs",
    plant: { "CONTRIBUTING.md": replacing("`npm run docs`", "`npm run documents`") },
    says: ["CONTRIBUTING.md:", "names npm run documents, which package.json does not have"],
  },
  {
    what: "a link to nothing",
    check: "docs",
    plant: { "README.md": replacing("(docs/errors.md)", "(docs/error.md)") },
    says: ["README.md:", "links to docs/error.md, which is not there; correct it"],
  },
]);

test("a README that says what no longer works is found by the test that runs it", async () => {
  await using copy = await copyRepository();
  const stale = { "README.md": replacing('"title": "Mug"', '"name": "Mug"') };
  await using _planted = await copy.plant(stale);
  const { code, stdout, stderr } = await copy.run("vitest", "run", "tests/journeys/readme.test.ts", "-t", "paste");
  expect(code).toBe(1);
  expect(`${stdout}${stderr}`).toMatch(/FAIL .*readme\.test\.ts/);
});
