import { readFile } from "node:fs/promises";
import { Validator } from "@seriousme/openapi-schema-validator";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { httpBindingsOf } from "../../src/platform/rest/http-binding.ts";
import { registry } from "../../src/roles/registry.ts";
import { browserPath, openBrowser } from "../support/browser.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { present } from "../support/role.ts";

let shop: Installation;
beforeAll(async () => {
  shop = await startInstallation("one process");
  const price = { currencyCode: "EUR", amountMinor: 1_290n };
  await clientsOf(protocols.gRPC(shop.url)).products.addProduct({
    title: "A mug of the docs",
    variants: [{ sku: "MUG-DOCS", price }],
  });
});
afterAll(() => shop[Symbol.asyncDispose]());

test("the OpenAPI document is valid, is what is committed, and has every path", async () => {
  const response = await fetch(`${shop.url}/openapi.json`);
  const text = await response.text();
  expect(response.headers.get("content-type")).toContain("application/json");
  expect(text).toBe(await readFile(new URL("../../docs/openapi.json", import.meta.url), "utf8"));
  const document = JSON.parse(text) as { readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>> };

  expect(await new Validator().validate(structuredClone(document))).toMatchObject({ valid: true });
  const documented = Object.entries(document.paths).flatMap(([path, verbs]) => {
    return Object.keys(verbs).map((verb) => `${verb.toUpperCase()} ${path}`);
  });
  const served = Object.values(registry).flatMap(({ services }) =>
    services.flatMap(({ methods }) => methods.flatMap(httpBindingsOf).map(({ verb, path }) => `${verb} ${path.text}`)),
  );
  expect(documented.toSorted()).toEqual(served.toSorted());
});

test("the page's other addresses are not there", async () => {
  for (const path of ["/docs/nix", "/docs/js/other.js", "/docs/openapi.json", "/docs/../docs/x"]) {
    expect((await fetch(shop.url + path)).status, path).toBe(404);
  }
  const redirected = await fetch(`${shop.url}/docs`, { redirect: "manual" });
  expect([redirected.status, redirected.headers.get("location")]).toEqual([302, "/docs/"]);
});

describe.runIf(browserPath)("in a browser", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await openBrowser(present(browserPath));
  });
  afterAll(() => browser.close());

  test("the page shows the API and calls the shop, and nobody else", async () => {
    const page = await browser.newPage();
    const faults: string[] = [];
    page.on("console", (message) => {
      if (message.type() === "error") faults.push(message.text());
    });
    page.on("request", (request) => {
      if (!/^(?:data:|blob:)/.test(request.url()) && !request.url().startsWith(shop.url)) faults.push(request.url());
    });
    await page.goto(`${shop.url}/docs#tag/product/GET/api/v1/products`);
    await page.getByRole("heading", { name: "Query products" }).waitFor();
    await page.getByRole("button", { name: /Test Request.*get \/api\/v1\/products\)/i }).click();
    const answered = page.waitForResponse((response) => response.url().includes("/api/v1/products"));
    await page.getByRole("button", { name: /^Send/ }).first().click();
    expect((await answered).status()).toBe(200);
    await page.getByText("A mug of the docs").waitFor();
    expect(faults).toEqual([]);
  });
});
