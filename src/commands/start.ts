import { boot } from "../platform/boot.ts";
import type { System } from "../platform/boot.ts";
import type { Config } from "../platform/config.ts";
import { namedRoles, parseConfig } from "../platform/config.ts";
import { readEnvironment } from "../platform/environment.ts";
import type { Logger } from "../platform/logger.ts";
import { createLogger } from "../platform/logger.ts";
import type { Registry } from "../platform/role.ts";
import { registry as allRoles } from "../roles/registry.ts";
import { banner, explain } from "./banner.ts";

/** What the signals need of a running process. */
export interface Running {
  /** Stops in order and answers the exit code. */
  stop(): Promise<number>;
}

/**
 * Starts the roles that ROLE names. Undefined, with the exit code set, where that cannot be; it says why. Undefined,
 * with what had begun stopped, where the signal breaks it off.
 */
export async function start(argv: readonly string[], signal: AbortSignal): Promise<Running | undefined> {
  if (argv.length > 2) (await command()).parse(argv);
  const registry: Registry = allRoles;
  let log: Logger | undefined;
  try {
    const { config, definitions } = await configure(registry);
    log = await createLogger({
      ...config.log,
      format: config.log.format ?? (process.stdout.isTTY ? "pretty" : "json"),
    });
    logStrays(log);
    const system = await boot({
      registry,
      config,
      definitions,
      log,
      signal,
      onProgress: (message) => {
        if (config.all) process.stdout.write(`  ${message}\n`);
      },
    });
    sayThatItRuns(system, config, log);
    return { stop: () => stop(system, log) };
  } catch (error) {
    if (signal.aborted) {
      // Ctrl-C also reaches what the start runs, whose failure then comes of it.
      log?.info(error === signal.reason ? {} : { err: error }, "stopped before it had started");
      return undefined;
    }
    process.stderr.write(`\n${explain(error)}\n`);
    process.exitCode = 1;
    return undefined;
  }
}

/** Reads and checks the configuration of the roles that run, whose code is loaded for its keys. */
export async function configure(registry: Registry) {
  const environment = readEnvironment();
  const named = namedRoles(environment, Object.keys(registry));
  const run = named ?? Object.keys(registry);
  const loaded = await Promise.all(run.map(async (role) => [role, (await registry[role]?.load())?.default] as const));
  const definitions = Object.fromEntries(loaded.flatMap(([role, code]) => (code ? [[role, code] as const] : [])));
  const known = Object.fromEntries(
    Object.entries(registry).map(([role, entry]) => [
      role,
      { edge: false, ...entry, config: definitions[role]?.config ?? {} },
    ]),
  );
  return { config: parseConfig(environment, known, named), definitions };
}

/** One call's stray failure must not end the calls of others; it is a defect all the same. */
function logStrays(log: Logger): void {
  process.on("unhandledRejection", (error) => {
    log.error({ err: error }, "a promise was rejected that nobody waited for");
  });
}

async function stop(system: System, log: Logger | undefined): Promise<number> {
  log?.info("stopping");
  await system.stop();
  log?.info("stopped");
  return 0;
}

function sayThatItRuns(system: System, config: Config, log: Logger): void {
  log.info({ roles: config.roles, ports: system.ports }, "listening");
  if (config.all) process.stdout.write(banner(system, config));
}

/** Says what it is asked for, or that nothing is asked for so. Loaded where there is something to say. */
async function command() {
  const { Command } = await import("commander");
  const [door, ...behindIt] = Object.keys(allRoles);
  return new Command("npm start")
    .description("Runs the roles that ROLE names (comma list), or the whole shop in one process where it is not set.")
    .addHelpText(
      "after",
      `
Environment (or .env):
  ROLE                ${Object.keys(allRoles).join(", ")}, a comma list of them, or all
  PORT                port of the gateway, or of the only role
  DATA_DIR            folder of the embedded Postgres (.data)
  DATABASE_URL        a Postgres of yours instead; <ROLE>_DATABASE_URL for one role
  BUS_URL             where events go: postgres:// or amqp://; beside the databases where it is not set
  MAIL_URL            an SMTP server: smtp://user:password@host:587
  <ROLE>_URL          where a role is found that runs elsewhere
  TOKEN_SECRET        32 characters or more, the same for all processes; needed with ROLE

All of them: .env.example. In one process: npm start. In two:
  ROLE=${behindIt.join(",")} npm start        and        ROLE=${door} npm start
`,
    );
}
