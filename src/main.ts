import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

/** Milliseconds in which a second signal counts as the first: npm passes on what the terminal already sent to all. */
const ECHO_MS = 500;

// Before anything starts: a signal during the start breaks it off between two steps, and what had begun is stopped.
const stopping = new AbortController();
let firstAt = 0;
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.on(signal, () => {
    if (firstAt === 0) {
      firstAt = performance.now();
      stopping.abort(new Error("told to stop"));
      void starting.then((running) => running?.stop()).then((code) => process.exit(code));
    } else if (performance.now() - firstAt > ECHO_MS) {
      process.exit(130);
    }
  });
}

// Compiled code is kept for the next start, which is then twice as fast: beside the packages, where only those write who
// may change the code itself. Where nobody may, as in an image, nothing is kept. NODE_COMPILE_CACHE says another place.
enableCompileCache(fileURLToPath(new URL("../node_modules/.cache/compiled", import.meta.url)));
const starting = import("./commands/start.ts").then(({ start }) => start(process.argv, stopping.signal));
await starting;
