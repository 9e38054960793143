import { appendFileSync, existsSync, renameSync } from "node:fs";
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/*
 * Preloaded into the processes that a test starts (`--import`), never into those of an operator: there the marks in the
 * sources are comments. Each mark `// failpoint: <name>` becomes a call on its own line; line numbers stay.
 *
 * A test arms a point by a file of its name in FAILPOINTS, with what is to be done in it: `kill`, `stop`, `wait` (until the
 * file `<name>.go` is there) or `fail`. Whoever comes first takes the file away, so it is done once.
 */

const folder = process.env["FAILPOINTS"] ?? "";
const passed = new Set<string>();

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!/\/src\/roles\/.*\.ts$/.test(url) || loaded.source === undefined || loaded.source === null) return loaded;
    const source =
      typeof loaded.source === "string" ? loaded.source : Buffer.from(loaded.source as Uint8Array).toString();
    // A name may be a template, of what is known where it stands.
    const marked = source.replaceAll(/\/\/ failpoint: (\S+)$/gm, "await globalThis.failpoint(`$1`);");
    return { ...loaded, source: marked };
  },
});

async function failpoint(name: string): Promise<void> {
  if (folder === "") return;
  if (!passed.has(name)) {
    passed.add(name);
    appendFileSync(join(folder, "passed"), `${name}\n`);
  }
  const armed = join(folder, name);
  if (!existsSync(armed)) return;
  const taken = `${armed}.${String(process.pid)}`;
  try {
    renameSync(armed, taken);
  } catch {
    // Another process was first.
    return;
  }
  switch (readFileSync(taken, "utf8")) {
    case "kill":
      process.kill(process.pid, "SIGKILL");
      // The signal is on its way: nothing else is done here.
      return new Promise(() => undefined);
    case "stop":
      process.kill(process.pid, "SIGSTOP");
      return;
    case "wait":
      while (!existsSync(`${armed}.go`)) await delay(5);
      return;
    case "fail":
      throw new Error(`the test lets ${name} fail`);
    default:
      throw new Error(`${armed} does not say what is to be done`);
  }
}

Object.assign(globalThis, { failpoint });
