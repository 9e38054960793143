import { defineConfig } from "vitest/config";

/** The Stripe adapter against Stripe's test mode: `STRIPE_SECRET_KEY=sk_test_… npm run test:stripe`. */
export default defineConfig({
  test: { include: ["tests/stripe/**/*.stripe.ts"], testTimeout: 120_000 },
});
