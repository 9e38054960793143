import { defineConfig } from "vitest/config";
import { securityChecks } from "./tests/security/checks.ts";

/** Every check of docs/security.md: `npm run test:security`. */
export default defineConfig({
  test: {
    globalSetup: ["tests/support/global-setup.ts"],
    include: [...new Set(securityChecks.map(({ file }) => file))],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 3,
    maxConcurrency: 10,
  },
});
