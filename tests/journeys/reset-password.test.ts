import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { browserPath, openBrowser } from "../support/browser.ts";
import { until } from "../support/conditions.ts";
import type { Folder } from "../support/folders.ts";
import { makeFolder } from "../support/folders.ts";
import type { ServerProcess } from "../support/process.ts";
import { startProcess } from "../support/process.ts";
import { clientsOf, protocols, refusalOf } from "../support/protocols.ts";

const account = { email: "ada@example.com", password: "the first password" };
const PHONE = { width: 375, height: 740 };

if (browserPath === undefined) process.stdout.write("no Chromium on this machine: the pages were not walked through\n");

/** A person's way, by hand: what they read is what the page shows. */
describe.skipIf(browserPath === undefined)("in a browser", () => {
  let folder: Folder;
  let shop: ServerProcess;
  let browser: Browser;
  let url: string;
  beforeAll(async () => {
    folder = await makeFolder();
    shop = await startProcess({ DATA_DIR: folder.data, PORT: "0" }, folder.path);
    url = `http://localhost:${String(shop.ports["gateway"])}`;
    browser = await openBrowser(browserPath ?? "");
  });
  afterAll(async () => {
    await browser.close();
    await shop[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  const shopper = () => clientsOf(protocols["Connect JSON"](url, account));

  const nobody = () => clientsOf(protocols["Connect JSON"](url, "nobody"));

  /** What went wrong in pages, also in those that a link opened, and what they asked of others. */
  const wrong: string[] = [];

  /** A page as on a phone. */
  async function phone(): Promise<Page> {
    const context = await browser.newContext({ viewport: PHONE, isMobile: true, hasTouch: true });
    context.on("weberror", (error) => wrong.push(error.error().message));
    context.on("console", (message) => {
      // The browser says so of a call that is refused, as that of a used link.
      const isRefusal = /^Failed to load resource: .* 400 /.test(message.text());
      if (message.type() === "error" && !isRefusal) wrong.push(message.text());
    });
    context.on("request", (request) => {
      if (!request.url().startsWith(url) && !/^(?:about|data|blob):/.test(request.url())) wrong.push(request.url());
    });
    return context.newPage();
  }

  async function fitsThePhone(page: Page): Promise<void> {
    // As text: what runs in the page has types that nothing else here has.
    const scroll = await page.evaluate<number>("document.documentElement.scrollWidth");
    expect(scroll).toBeLessThanOrEqual(PHONE.width);
  }

  /** Opens the mailbox, and in it the newest mail with this in its subject. */
  async function openMail(page: Page, subject: RegExp): Promise<void> {
    await page.goto(`${url}/-/notification/mailbox`);
    const mail = page.getByRole("link", { name: subject }).first();
    await until(async () => {
      if (await mail.isVisible()) return true;
      await page.reload();
      return mail.isVisible();
    }, 20_000);
    await fitsThePhone(page);
    await mail.click();
    await fitsThePhone(page);
  }

  /** Follows the button of the mail that is open; the page that it leads to. */
  async function follow(page: Page, label: RegExp): Promise<Page> {
    const link = page.frameLocator("iframe").getByRole("link", { name: label });
    const opened = page.context().waitForEvent("page");
    await link.click();
    const next = await opened;
    await next.waitForLoadState();
    return next;
  }

  test("a new customer finds the welcome mail, and confirms the email by it", async () => {
    await nobody().users.createUser(account);
    const page = await phone();
    await openMail(page, /welcome/i);
    const confirm = await follow(page, /confirm/i);
    await fitsThePhone(confirm);
    // The token is out of the address bar, and of the history with it.
    expect(new URL(confirm.url()).hash).toBe("");
    await confirm.getByRole("button", { name: /confirm/i }).click();
    await confirm.getByText("your email is confirmed").waitFor();
    expect((await shopper().users.getProfile({})).user?.emailConfirmed).toBe(true);
    await page.context().close();
    expect(wrong).toEqual([]);
  });

  test("a customer who forgot the password sets another by a mail, once", async () => {
    await nobody().auth.requestPasswordReset({ email: account.email });
    const page = await phone();
    await openMail(page, /set a new password/i);
    const reset = await follow(page, /password/i);
    await fitsThePhone(reset);
    await reset.getByLabel("New password").fill("the second password");
    await reset.getByLabel("Once more").fill("another one");
    await reset.getByRole("button").click();
    await reset.getByText("The two are not the same.").waitFor();
    await reset.getByLabel("Once more").fill("the second password");
    await reset.getByRole("button").click();
    await reset.getByText("Log in with your new password").waitFor();
    const logIn = (password: string) => nobody().auth.login({ email: account.email, password });
    expect((await logIn("the second password")).user?.email).toBe(account.email);
    expect(await refusalOf(logIn(account.password))).toMatchObject({ reason: "CREDENTIALS_INVALID" });

    await page.bringToFront();
    const again = await follow(page, /password/i);
    await again.getByLabel("New password").fill("the third password");
    await again.getByLabel("Once more").fill("the third password");
    await again.getByRole("button").click();
    await again.getByText("This link was used or is too old").waitFor();
    await openMail(page, /password for .* was changed/i);
    await page.context().close();
    expect(wrong).toEqual([]);
  });
});
