import { defineConfig } from "vitest/config";

/** What clients that mean ill can do: `npm run test:limits`. Nothing may run beside it, it measures. */
export default defineConfig({
  test: {
    globalSetup: ["tests/support/global-setup.ts"],
    include: ["tests/limits/**/*.limits.ts"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 1,
  },
});
