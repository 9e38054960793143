import { execFile } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { startInstallation } from "../support/installation.ts";

const top = fileURLToPath(new URL("../..", import.meta.url));
const run = promisify(execFile);

interface Snippet {
  readonly language: string;
  readonly code: string;
}

/** The snippets of the README that a reader can paste while the shop runs, in their order. */
async function snippets(): Promise<Snippet[]> {
  const text = await readFile(`${top}README.md`, "utf8");
  const blocks = text.matchAll(/(?<elsewhere><!-- run elsewhere -->\n)?```(?<language>\w+)\n(?<code>.*?)\n```/gs);
  return [...blocks].flatMap(({ groups }) =>
    groups?.["elsewhere"] === undefined ? [{ language: groups?.["language"] ?? "", code: groups?.["code"] ?? "" }] : [],
  );
}

test("what the README says to paste works, in the order in which it says so", { timeout: 120_000 }, async () => {
  await using shop = await startInstallation("one process");
  const port = new URL(shop.url).port;
  const here = (code: string) => code.replaceAll("localhost:8080", `localhost:${port}`);
  const all = await snippets();
  const shell = all.filter(({ language }) => language === "sh").map(({ code }) => here(code));
  expect(shell.length).toBeGreaterThanOrEqual(4);
  const script = ["set -euo pipefail", ...shell].join("\n\necho; echo --- next\n\n");
  const { stdout } = await run("bash", ["-c", script], { cwd: top, env: { ...process.env, PORT: port } });
  const outputs = stdout.split("--- next\n");

  expect(outputs[1]).toContain('"itemsAmount":{"currencyCode":"EUR","amountMinor":"2580"}');
  expect(outputs[1]).toContain('"totalAmount":{"currencyCode":"EUR","amountMinor":"3070"}');
  expect(outputs[2]).toContain('"title":"Mug"');
  expect(outputs[3]).toContain('"sku": "MUG-1"');
  expect(outputs[3]?.match(/"sequence"/g)).toHaveLength(3);
  expect(outputs[3]).toContain("SKU_UNAVAILABLE");
  expect(outputs[4]).toContain("300 products");

  for (const [index, { code }] of all.filter(({ language }) => language === "ts").entries()) {
    const file = `${top}.readme-${String(process.pid)}-${String(index)}.ts`;
    await writeFile(file, here(code));
    try {
      const { stdout: printed } = await run(process.execPath, [file], { cwd: top });
      expect(printed).toBe("Mug 1290n\n");
    } finally {
      await rm(file);
    }
  }
});
