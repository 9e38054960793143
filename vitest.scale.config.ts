import { defineConfig } from "vitest/config";

/** Suites that take long or much: `npm run test:scale`. */
export default defineConfig({
  test: {
    globalSetup: ["tests/support/global-setup.ts"],
    include: ["tests/scale/**/*.scale.ts"],
    testTimeout: 600_000,
    hookTimeout: 120_000,
    maxWorkers: 1,
  },
});
