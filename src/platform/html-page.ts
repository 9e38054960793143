import { createHash } from "node:crypto";
import type { RawResponse } from "./raw-routes.ts";

/** A piece of HTML, safe to be put into another. */
export interface Html {
  readonly html: string;
}

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** HTML from a template whose values are escaped, unless they are such pieces themselves. */
export function html(parts: TemplateStringsArray, ...values: readonly (string | Html | readonly Html[])[]): Html {
  const written = values.map((value) => {
    if (typeof value === "string") return value.replaceAll(/[&<>"']/g, (char) => ESCAPES[char] ?? "");
    return "html" in value ? value.html : value.map((piece) => piece.html).join("");
  });
  return { html: parts.map((part, index) => part + (written[index] ?? "")).join("") };
}

const STYLE = `
  :root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --line: #d9d9e0; --back: #f6f6f8; --card: #fff; --go: #1d4ed8; --go-ink: #fff; --bad: #b42318; --good: #067647; }
  @media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --soft: #b0b4ba; --line: #43484e; --back: #111113; --card: #1d1e21; --go: #9eb8ff; --go-ink: #10131c; --bad: #ff9592; --good: #4cc38a; } }
  * { box-sizing: border-box; }
  body { margin: 0; background: var(--back); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
  main { width: 100%; max-width: 46rem; margin: 0 auto; padding: 1.25rem 1rem 3rem; }
  main.small { max-width: 26rem; min-height: 100vh; display: grid; align-content: center; }
  h1 { margin: 0 0 .5rem; font-size: 1.35rem; line-height: 1.25; }
  p { margin: 0 0 1rem; color: var(--soft); }
  a { color: var(--go); }
  .card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow: hidden; }
  .pad { padding: 1.5rem; }
  .pad > :last-child { margin-bottom: 0; }
  ul { list-style: none; margin: 0; padding: 0; }
  li + li { border-top: 1px solid var(--line); }
  li a { display: block; padding: .8rem 1rem; color: inherit; text-decoration: none; }
  li a:hover { background: color-mix(in srgb, var(--go) 8%, transparent); }
  .subject { display: block; font-weight: 600; }
  .meta { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; color: var(--soft); font-size: .875rem; }
  dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem; margin: 0 0 1rem; font-size: .9rem; }
  dt { color: var(--soft); }
  dd { margin: 0; }
  iframe { display: block; width: 100%; height: min(46rem, 80vh); border: 0; background: var(--back); }
  details { margin-top: 1rem; }
  summary { cursor: pointer; padding: .4rem 0; font-weight: 600; }
  pre { margin: .5rem 0 0; padding: 1rem; white-space: pre-wrap; font: .85rem/1.5 ui-monospace, monospace; }
  label { display: block; margin: 0 0 .35rem; font-weight: 600; }
  input { width: 100%; margin: 0 0 1rem; padding: .65rem .75rem; font: inherit; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: 8px; }
  button { width: 100%; padding: .7rem 1rem; font: inherit; font-weight: 600; color: var(--go-ink); background: var(--go); border: 0; border-radius: 8px; cursor: pointer; }
  button + button { margin-top: .75rem; }
  button.second { color: var(--ink); background: transparent; border: 1px solid var(--line); }
  button[disabled] { opacity: .6; cursor: default; }
  [role=status] { min-height: 1.5em; margin: 1rem 0 0; }
  .bad { color: var(--bad); }
  .good { color: var(--good); }
  :focus-visible { outline: 3px solid color-mix(in srgb, var(--go) 55%, transparent); outline-offset: 2px; }
  li a:focus-visible { outline-offset: -3px; }
`;

export interface HtmlPage {
  readonly title: string;
  readonly body: Html;
  /** Seconds after which the browser reads it anew. */
  readonly refresh?: number;
  /** Whether it shows a mail in a frame, whose styles stand in its HTML. */
  readonly showsMail?: boolean;
  /** The origin to which its form leads in the end, where that is another than this host. */
  readonly formLeadsTo?: string;
  /** All that runs in it, of our own words alone; it may call this host. */
  readonly script?: string;
}

/** Of every page: it is kept nowhere, and tells nobody where one came from. */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  "content-type": "text/html; charset=utf-8",
  "cache-control": "no-store",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

/** A page in English that runs nothing but its script, and takes nothing from elsewhere. */
export function htmlPage(
  status: number,
  { title, body, refresh, showsMail = false, formLeadsTo = "", script }: HtmlPage,
): RawResponse {
  const policy = [
    "default-src 'none'",
    `style-src ${showsMail ? "'unsafe-inline'" : hashOf(STYLE)}`,
    ...(script === undefined ? [] : [`script-src ${hashOf(script)}`, "connect-src 'self'"]),
    ...(showsMail ? ["frame-src 'self'"] : []),
    "base-uri 'none'",
    `form-action ${script === undefined ? `'self' ${formLeadsTo}`.trimEnd() : "'none'"}`,
    "frame-ancestors 'none'",
  ].join("; ");
  const again = refresh === undefined ? html`` : html`<meta http-equiv="refresh" content="${String(refresh)}">`;
  const running = script === undefined ? html`` : html`<script>${{ html: script }}</script>`;
  const whole = html`<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="robots" content="noindex">
  ${again}
  <title>${title}</title>
  <style>${{ html: STYLE }}</style>
</head>
<body>
${body}
${running}
</body>
</html>
`;
  return { status, headers: { ...PAGE_HEADERS, "content-security-policy": policy }, body: whole.html };
}

/** What a page says in the middle of the window, of one thing. */
export function smallPage(
  status: number,
  title: string,
  text: Html,
  more: Pick<HtmlPage, "script" | "formLeadsTo"> = {},
): RawResponse {
  const body = html`<main class="small"><div class="card pad"><h1>${title}</h1>${text}</div></main>`;
  return htmlPage(status, { title, body, ...more });
}

function hashOf(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}
