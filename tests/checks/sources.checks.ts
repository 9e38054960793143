import { readFile, readdir } from "node:fs/promises";
import { expect, test } from "vitest";
import { adding, copyRepository, replacing } from "./copy.ts";
import { findsFaults } from "./fault.ts";

const file = "src/roles/user/user.ts";

findsFaults([
  {
    what: "an export that nobody uses",
    check: "unused",
    plant: { [file]: adding("\nexport const nobodyUsesThis = 1;") },
    says: [file, "nobodyUsesThis", "To do: delete it, or use it"],
  },
  {
    what: "a file that nobody imports",
    check: "unused",
    plant: { "src/roles/user/nobody.ts": "export const nobody = 1;\n" },
    says: ["src/roles/user/nobody.ts", "To do: delete it, or use it"],
  },
  {
    what: "a dependency that nobody uses",
    check: "unused",
    plant: { "src/platform/id.ts": replacing("uuid", "node:crypto") },
    says: ["uuid", "package.json", "To do: delete it, or use it"],
  },
  {
    what: "a file that is not formatted",
    check: "format",
    plant: { [file]: adding("export const a = {b:1}") },
    says: [file, "To do: npm run format"],
  },
  {
    what: "a proto file that is not formatted",
    check: "format",
    plant: { "proto/commerce/user/v1/user.proto": replacing("  rpc GetUser(", "    rpc   GetUser(") },
    says: ["proto/commerce/user/v1/user.proto", "npx buf format --write --path proto/commerce"],
  },
  {
    what: "a promise that nobody waits for",
    check: "lint",
    plant: { [file]: adding("\nexport function later(): void {\n  Promise.resolve(1);\n}") },
    says: [file, "no-floating-promises", "To do: correct the code"],
  },
  {
    what: "a wrong type",
    check: "tsc",
    plant: { [file]: adding('\nexport const number: number = "one";') },
    says: [`${file}(`, "error TS2322", "To do: correct the code"],
  },
  {
    what: "a layout of mails that was not compiled",
    check: "mails",
    plant: { "src/roles/notification/templates/mail.mjml": replacing("<mj-body", '<mj-body width="599px"') },
    says: ["src/roles/notification/templates/mail.html", "Run: npm run mails"],
  },
  {
    what: "a version that is not exact",
    check: "lockfile",
    plant: { "package.json": replacing('"pino": "', '"pino": "^') },
    says: ["package.json", "pino"],
  },
  {
    what: "a lockfile for one platform only",
    check: "lockfile",
    plant: { "package-lock.json": (text) => text.replace(/"node_modules\/@biomejs\/cli-[^}]*?\},\n/, "") },
    says: ["package-lock.json", "Run: node scripts/complete-lockfile.ts"],
  },
]);

test("each check has a fault that it finds", async () => {
  await using copy = await copyRepository();
  const { stdout } = await copy.run("node", "scripts/check.ts", "--help");
  const names = [...stdout.matchAll(/^ {2}(\w+) /gm)].map(([, name = ""]) => name);
  const suites = (await readdir(import.meta.dirname)).filter((name) => name.endsWith(".checks.ts"));
  const texts = await Promise.all(suites.map((name) => readFile(`${import.meta.dirname}/${name}`, "utf8")));
  const proven = new Set(texts.flatMap((text) => [...text.matchAll(/check: "(\w+)"/g)].map(([, name = ""]) => name)));
  expect(names.length).toBeGreaterThan(10);
  expect([...proven].sort()).toEqual(names.sort());
});
