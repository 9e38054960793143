import { defineConfig } from "vitest/config";

/** Generated requests: `npm run test:fuzz`. FUZZ_MESSAGES and FUZZ_BAD_INPUTS say how many, FUZZ_SEED repeats a run. */
export default defineConfig({
  test: {
    globalSetup: ["tests/support/global-setup.ts"],
    include: ["tests/fuzz/**/*.fuzz.ts"],
    testTimeout: 900_000,
    hookTimeout: 120_000,
    maxWorkers: 1,
  },
});
