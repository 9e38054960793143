import type { Html } from "../../platform/html-page.ts";
import { html, smallPage } from "../../platform/html-page.ts";
import type { RawResponse, RawRoute } from "../../platform/raw-routes.ts";

/** What both pages of mails do: the token is behind the `#`, which no server sees; it goes out of the address bar at once. */
const SCRIPT = `
  const token = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  // Another link of this kind, opened in this tab.
  addEventListener("hashchange", () => location.reload());
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
  html`<form>
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
  html`<form>
      <p>Mail programs open links to look at them, so one more press is yours.</p>
      <button autofocus>Confirm</button>
    </form>`,
  `async function submit() {
    await call("ConfirmEmail", { token });
    say("Thank you, your email is confirmed.", "good");
  }`,
);

/** Below `/-/user`. */
export const CALLBACK_PATH = "/openid/callback";

/** The code goes out of the address bar at once; it is of no use without the login token of the browser. */
const callbackPage = smallPage(
  200,
  "You are back",
  html`<p>Here a page of the app goes on (OPENID_REDIRECT_URL). This is what it sends to FinishOpenIdLogin, with the
      login token of StartOpenIdLogin:</p>
    <pre></pre><noscript><p>This page needs JavaScript.</p></noscript>`,
  {
    script: `
  const query = new URLSearchParams(location.search);
  history.replaceState(null, "", location.pathname);
  const names = ["code", "state", "iss", "error"].filter((name) => query.has(name));
  const answer = Object.fromEntries(names.map((name) => [name, query.get(name)]));
  document.querySelector("pre").textContent = JSON.stringify(answer, null, 2);
`,
  },
);

/**
 * The pages that links in mails, and providers, lead to where the shop has none of its own; see RESET_PASSWORD_URL and
 * OPENID_REDIRECT_URL.
 */
export const routes: readonly RawRoute[] = [
  { method: "GET", path: "/reset-password", maxBytes: 0, access: "public", handle: () => Promise.resolve(resetPage) },
  { method: "GET", path: "/confirm-email", maxBytes: 0, access: "public", handle: () => Promise.resolve(confirmPage) },
  { method: "GET", path: CALLBACK_PATH, maxBytes: 0, access: "public", handle: () => Promise.resolve(callbackPage) },
];

function page(title: string, form: Html, submit: string): RawResponse {
  const said = html`<p id="said" role="status"></p><noscript><p>This page needs JavaScript.</p></noscript>`;
  return smallPage(200, title, html`${form}${said}`, { script: `${submit}\n${SCRIPT}` });
}
