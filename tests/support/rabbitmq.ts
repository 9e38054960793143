import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { until } from "./conditions.ts";
import { freePort } from "./ports.ts";

const run = promisify(execFile);

/** Debian's package: its own scripts, below the wrapper that insists on the system's account and folders. */
const SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/** A RabbitMQ of a test's own that can be taken away and brought back where it was. */
export interface OwnRabbitmq extends AsyncDisposable {
  readonly url: string;
  /** SIGKILL leaves as a crash does. Resolves when it is gone. */
  stop(signal: "SIGTERM" | "SIGKILL"): Promise<void>;
  /** Resolves when it takes connections. */
  start(): Promise<void>;
}

/** Whether this machine has a RabbitMQ that a test can start. */
export function rabbitmqIsInstalled(): boolean {
  return existsSync(SERVER);
}

/**
 * Starts a RabbitMQ with a name, ports (also of epmd) and a folder of its own, on loopback, so that another one on this
 * machine notices nothing. @throws Error with what it said, where it does not come up
 */
export async function startOwnRabbitmq(): Promise<OwnRabbitmq> {
  const folder = await mkdtemp(join(tmpdir(), "connect-commerce-rabbitmq-"));
  const [port, distribution, epmd] = await Promise.all([freePort(), freePort(), freePort()]);
  await writeFile(join(folder, "rabbitmq.conf"), "loopback_users = none\nheartbeat = 10\n");
  const env = {
    PATH: process.env["PATH"] ?? "",
    // Where the cookie is.
    HOME: folder,
    ERL_EPMD_ADDRESS: "127.0.0.1",
    ERL_EPMD_PORT: String(epmd),
    RABBITMQ_NODENAME: `connect-commerce-${String(port)}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(distribution),
    RABBITMQ_MNESIA_BASE: join(folder, "data"),
    RABBITMQ_LOG_BASE: join(folder, "log"),
    RABBITMQ_CONFIG_FILE: join(folder, "rabbitmq.conf"),
    RABBITMQ_CONF_ENV_FILE: "/dev/null",
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, "plugins"),
    // Two schedulers are plenty for a test, and leave the machine to it.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
  };
  const output = join(folder, "output.log");
  let server: ChildProcess | undefined;

  async function start(): Promise<void> {
    await rm(output, { force: true });
    // A process group of its own: the script, the emulator and its helpers end together.
    const child = spawn("/bin/sh", ["-c", `exec ${SERVER} > "$0" 2>&1`, output], {
      env,
      detached: true,
      stdio: "ignore",
    });
    server = child;
    let said = "";
    await until(async () => {
      said = await readFile(output, "utf8").catch(() => "");
      return said.includes("Starting broker... completed") || child.exitCode !== null;
    }, 90_000);
    if (child.exitCode !== null) throw new Error(`RabbitMQ ended with ${String(child.exitCode)}:\n${said}`);
  }

  async function stop(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = server;
    server = undefined;
    if (child?.pid === undefined) return;
    const group = -child.pid;
    process.kill(group, signal);
    await until(() => isGone(group), 60_000);
  }

  await start();
  return {
    url: `amqp://guest:guest@127.0.0.1:${String(port)}`,
    start,
    stop,
    async [Symbol.asyncDispose]() {
      await stop("SIGTERM");
      await run("epmd", ["-kill"], { env }).catch(() => undefined);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function isGone(group: number): boolean {
  try {
    process.kill(group, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}
