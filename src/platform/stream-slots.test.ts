import { expect, test } from "vitest";
import { createStreamSlots } from "./stream-slots.ts";

test("each caller has so many, and gets back what ended", () => {
  const open = createStreamSlots(2);
  const first = open("ada");
  open("ada");
  open("bob");
  const tooMany = expect.objectContaining({
    kind: "resource_exhausted",
    reason: "RATE_LIMITED",
    details: expect.objectContaining({
      retryAfterMs: 1_000,
      quota: { subject: "streams", description: "At most 2 streams open at once." },
    }),
  });
  expect(() => open("ada")).toThrow(tooMany);
  first();
  open("ada")();
  open("ada");
  expect(() => open("ada")).toThrow(tooMany);
  open("bob");
});
