import { configDefaults, defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    globalSetup: ["tests/support/global-setup.ts"],
    include: ["src/**/*.test.ts", "tests/**/*.test.ts", "bench/**/*.test.ts"],
    exclude: [...configDefaults.exclude, "tests/faults/**", "tests/security/**"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // One more than the cores of a small machine: what starts and what is waited for takes turns.
    maxWorkers: 3,
    maxConcurrency: 10,
  },
});
