import { defineConfig } from "vitest/config";

/** Signals, lost databases and failing starts: `npm run test:faults`; FAULT_ROUNDS=2 is a quick slice of it. */
export default defineConfig({
  test: {
    globalSetup: ["tests/support/global-setup.ts"],
    include: ["tests/faults/**/*.faults.ts"],
    testTimeout: 600_000,
    hookTimeout: 120_000,
    maxWorkers: 1,
  },
});
