import { Command, InvalidArgumentError } from "commander";
import { databaseUrl } from "./databases.ts";
import { allInvariants, owners } from "./invariants/all.ts";
import { checkInvariants, openDatabases } from "./invariants/check.ts";

/** Violations of one promise that are shown. */
const SHOWN = 20;

const { database, late } = new Command("npm run check:invariants --")
  .description(
    "Checks the promises of a running shop in its databases, which it only reads; docs/invariants.md has them.",
  )
  .option("--database <role>=<url>", "where the database of a role is; may be given for each", collect, {})
  .option("--late <seconds>", "after how long work that is not done counts as forgotten", parseSeconds, 30)
  .addHelpText("after", "\nExit code 1: a promise is broken, or a database cannot be read.\n")
  .parse()
  .opts<{ database: Record<string, string>; late: number }>();

try {
  const urls = Object.fromEntries(
    owners.map((role) => [role, databaseUrl(role, { given: database, single: false })] as const),
  );
  await using databases = await openDatabases(urls);
  let broken = 0;
  for await (const { invariant, promise, checked, violations } of checkInvariants(databases, allInvariants(late))) {
    const outcome = violations.length === 0 ? "holds" : `BROKEN in ${String(violations.length)}`;
    process.stdout.write(
      `${invariant.padEnd(4)} ${outcome.padEnd(12)} ${String(checked).padStart(9)} rows  ${promise}\n`,
    );
    for (const { about, problem } of violations.slice(0, SHOWN)) process.stdout.write(`       ${about}: ${problem}\n`);
    if (violations.length > SHOWN) process.stdout.write(`       and ${String(violations.length - SHOWN)} more\n`);
    broken += violations.length;
  }
  process.stdout.write(broken === 0 ? "No promise is broken.\n" : `${String(broken)} rows break a promise.\n`);
  if (broken > 0) process.exitCode = 1;
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

function collect(value: string, known: Record<string, string>): Record<string, string> {
  const at = value.indexOf("=");
  const role = value.slice(0, at);
  if (at < 1 || !owners.includes(role))
    throw new InvalidArgumentError(`Write <role>=<url>; roles: ${owners.join(", ")}.`);
  return { ...known, [role]: value.slice(at + 1) };
}

function parseSeconds(value: string): number {
  const seconds = Number(value);
  if (!Number.isInteger(seconds) || seconds < 0) throw new InvalidArgumentError("Write whole seconds, 0 or more.");
  return seconds;
}
