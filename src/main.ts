import { start } from "./commands/start.ts";

/** Milliseconds in which a second signal counts as the first: npm passes on what the terminal already sent to all. */
const ECHO_MS = 500;

const running = await start(process.argv);

if (running) {
  let firstAt = 0;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (firstAt === 0) {
        firstAt = performance.now();
        void running.stop().then((code) => process.exit(code));
      } else if (performance.now() - firstAt > ECHO_MS) {
        process.exit(130);
      }
    });
  }
}
