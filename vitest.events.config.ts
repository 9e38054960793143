import { defineConfig } from "vitest/config";

/** Every bus, with brokers that crash: `npm run test:events`; BUS_DOWN_SECONDS=60 is the full outage. */
export default defineConfig({
  test: {
    globalSetup: ["tests/support/global-setup.ts"],
    include: ["tests/events/**/*.events.ts"],
    testTimeout: 300_000,
    hookTimeout: 120_000,
    maxWorkers: 1,
    // Each outage is printed with what came of it.
    disableConsoleIntercept: true,
  },
});
