import { defineConfig } from "vitest/config";

/** Faults that each check has to find, and a role that is added and removed: `npm run test:checks`. */
export default defineConfig({
  test: {
    globalSetup: ["tests/support/global-setup.ts"],
    include: ["tests/checks/**/*.checks.ts"],
    testTimeout: 120_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    // Each fault is printed with the line that its check answers.
    disableConsoleIntercept: true,
  },
});
