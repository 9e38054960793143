import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { html, smallPage } from "./html-page.ts";
import type { RawResponse } from "./raw-routes.ts";

const policyOf = ({ headers }: RawResponse) => headers?.["content-security-policy"] ?? "";
const hashOf = (text = "") => createHash("sha256").update(text).digest("base64");

test("values are text, and pieces are not escaped twice", () => {
  const name = `<b a="1" c='2'>&`;
  const items = [html`<li>${name}</li>`, html`<li>2</li>`];
  expect(html`<ul title="${name}">${items}</ul>`.html).toBe(
    '<ul title="&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;"><li>&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;</li><li>2</li></ul>',
  );
});

test("nothing runs in a page, or looks like it, but what is its own", () => {
  const still = smallPage(200, "<Title>", html`<p>text</p>`);
  expect(still.body).toContain("<title>&lt;Title&gt;</title>");
  expect(still.body).not.toContain("<script");
  expect(policyOf(still)).not.toContain("script-src");
  expect(policyOf(still)).not.toContain("unsafe");
  const script = "const a = '&' < 1;";
  const running = smallPage(200, "Title", html``, { script });
  expect(running.body).toContain(`<script>${script}</script>`);
  const style = /<style>(?<text>[^]*)<\/style>/.exec(String(running.body))?.groups?.["text"];
  expect(policyOf(running)).toContain(`script-src 'sha256-${hashOf(script)}'`);
  expect(policyOf(running)).toContain(`style-src 'sha256-${hashOf(style)}'`);
  expect(policyOf(running)).toMatch(
    /^default-src 'none'; .*base-uri 'none'; form-action 'none'; frame-ancestors 'none'$/,
  );
});
