import { createHash } from "node:crypto";
import type { RawResponse, RawRoute } from "../../platform/raw-routes.ts";

const STYLE = `
  :root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --line: #d9d9e0; --back: #f6f6f8; --card: #fff; --go: #1d4ed8; --bad: #b42318; --good: #067647; }
  @media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --soft: #b0b4ba; --line: #43484e; --back: #111113; --card: #1d1e21; --go: #3b74f0; --bad: #ff9592; --good: #4cc38a; } }
  * { box-sizing: border-box; }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; background: var(--back); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
  main { width: 100%; max-width: 24rem; padding: 1.75rem; background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
  h1 { margin: 0 0 .75rem; font-size: 1.35rem; line-height: 1.25; }
  p { margin: 0 0 1rem; color: var(--soft); }
  label { display: block; margin: 0 0 .35rem; font-weight: 600; }
  input { width: 100%; margin: 0 0 1rem; padding: .65rem .75rem; font: inherit; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: 8px; }
  button { width: 100%; padding: .7rem 1rem; font: inherit; font-weight: 600; color: #fff; background: var(--go); border: 0; border-radius: 8px; cursor: pointer; }
  button[disabled] { opacity: .6; cursor: default; }
  input:focus-visible, button:focus-visible { outline: 3px solid color-mix(in srgb, var(--go) 45%, transparent); outline-offset: 2px; }
  #said { min-height: 1.5em; margin: 1rem 0 0; }
  #said.bad { color: var(--bad); } #said.good { color: var(--good); }
`;

/** What both pages do: the token is behind the `#`, which no server sees; it goes out of the address bar at once. */
const SCRIPT = `
  const token = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  const said = document.getElementById("said");
  const form = document.querySelector("form");
  const button = document.querySelector("button");
  const say = (text, kind) => { said.textContent = text; said.className = kind; };
  const call = async (method, request) => {
    const base = location.pathname.slice(0, location.pathname.indexOf("/-/user/"));
    const answer = await fetch(base + "/commerce.user.v1.AuthService/" + method, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(request),
    });
    if (answer.ok) return;
    const error = await answer.json().catch(() => ({}));
    throw new Error(error.message || "The shop did not answer. Try again.");
  };
  if (!/^[\\w-]+$/.test(token)) { form.hidden = true; say("This link is not complete. Open it from the mail again.", "bad"); }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    say("One moment…", "");
    try { await submit(); form.hidden = true; }
    catch (error) { say(error.message, "bad"); button.disabled = false; }
  });
`;

const resetPage = page(
  "Set a new password",
  `<h1>Set a new password</h1>
    <form>
      <p>You will be logged out everywhere, and log in with the new one.</p>
      <label for="password">New password</label>
      <input id="password" type="password" autocomplete="new-password" minlength="8" maxlength="128" required autofocus>
      <label for="again">Once more</label>
      <input id="again" type="password" autocomplete="new-password" minlength="8" maxlength="128" required>
      <button>Set password</button>
    </form>`,
  `async function submit() {
    const newPassword = document.getElementById("password").value;
    if (newPassword !== document.getElementById("again").value) throw new Error("The two are not the same.");
    await call("ResetPassword", { token, newPassword });
    say("Done. Log in with your new password.", "good");
  }`,
);

const confirmPage = page(
  "Confirm your email",
  `<h1>Confirm your email</h1>
    <form>
      <p>Mail programs open links to look at them, so one more press is yours.</p>
      <button autofocus>Confirm</button>
    </form>`,
  `async function submit() {
    await call("ConfirmEmail", { token });
    say("Thank you, your email is confirmed.", "good");
  }`,
);

/** The pages that links in mails lead to, where the shop has none of its own; see RESET_PASSWORD_URL. */
export const mailRoutes: readonly RawRoute[] = [
  { method: "GET", path: "/reset-password", maxBytes: 0, access: "public", handle: () => Promise.resolve(resetPage) },
  { method: "GET", path: "/confirm-email", maxBytes: 0, access: "public", handle: () => Promise.resolve(confirmPage) },
];

function page(title: string, body: string, submit: string): RawResponse {
  const script = `${submit}\n${SCRIPT}`;
  const allowed = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
  const policy = [
    "default-src 'none'",
    `script-src ${allowed(script)}`,
    `style-src ${allowed(STYLE)}`,
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
  return {
    status: 200,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": policy,
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
    },
    body: `<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="robots" content="noindex">
  <title>${title}</title>
  <style>${STYLE}</style>
</head>
<body>
  <main>
    ${body}
    <p id="said" role="status"></p>
    <noscript><p>This page needs JavaScript.</p></noscript>
  </main>
  <script>${script}</script>
</body>
</html>
`,
  };
}
