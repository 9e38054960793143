import { expect, test } from "vitest";
import { displayNameOf } from "./user.ts";

test("a display name is the part before the @, as long as a display name may be", () => {
  expect(displayNameOf("ada.lovelace@example.com")).toBe("ada.lovelace");
  expect(displayNameOf(`${"x".repeat(240)}@example.com`)).toBe("x".repeat(100));
});
