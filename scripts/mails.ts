/**
 * Compiles the layout of mails from MJML to the HTML that mail programs understand; what is between {{ and }} is left
 * for the moment of sending. See docs/notification.md.
 *
 *   node scripts/mails.ts           write what is compiled
 *   node scripts/mails.ts --check   exit 1 if it differs from what would be written
 */
import mjml2html from "mjml";
import { comparePages, readPage, writePages } from "./docs/page.ts";

const SOURCE = "src/roles/notification/templates/mail.mjml";
const TARGET = "src/roles/notification/templates/mail.html";

const { html, errors } = await mjml2html(readPage(SOURCE), {
  validationLevel: "strict",
  fonts: {},
  keepComments: false,
});
for (const { formattedMessage } of errors) console.error(`${SOURCE}: ${formattedMessage}`);
if (errors.length > 0) process.exit(1);

// Its own lines only: what mail programs read is not changed.
const text = `${html
  .split("\n")
  .map((line) => line.trimEnd())
  .filter((line) => line !== "")
  .join("\n")}\n`;
const pages = [{ file: TARGET, text }];
if (process.argv.includes("--check")) {
  const problems = comparePages(pages, "npm run mails");
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
} else {
  writePages(pages);
}
