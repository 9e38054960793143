import { describe, expect, test } from "vitest";
import type { Level, StockItem } from "./stock.ts";
import { alertOf, availabilityOf, changed, freeAt, isOverdrawn } from "./stock.ts";

function item(levels: Partial<Level>[], more: Partial<StockItem> = {}): StockItem {
  return {
    sku: "sku",
    id: "id",
    tracked: true,
    lowStockThreshold: 3n,
    version: 1n,
    alert: "NONE",
    updatedAt: new Date(0),
    levels: levels.map((level, at) => ({
      location: `L${String(at)}`,
      onHand: 0n,
      reserved: 0n,
      backorderLimit: 0n,
      ...level,
    })),
    ...more,
  };
}

describe("what is announced and what may be bought", () => {
  test.each([
    ["enough", item([{ onHand: 3n }]), "NONE", "IN_STOCK"],
    ["below the threshold", item([{ onHand: 2n }]), "LOW", "LOW_STOCK"],
    ["all held", item([{ onHand: 5n, reserved: 5n }]), "DEPLETED", "OUT_OF_STOCK"],
    ["nothing anywhere", item([]), "DEPLETED", "OUT_OF_STOCK"],
    ["few, no threshold", item([{ onHand: 1n }], { lowStockThreshold: 0n }), "NONE", "IN_STOCK"],
    ["together enough", item([{ onHand: 1n }, { onHand: 2n }]), "NONE", "IN_STOCK"],
    ["only on backorder", item([{ backorderLimit: 9n }]), "NONE", "BACKORDER"],
    ["little backorder", item([{ onHand: -8n, backorderLimit: 9n }]), "LOW", "BACKORDER"],
    ["not tracked", item([], { tracked: false }), "NONE", "IN_STOCK"],
  ] as const)("%s", (_, stock, alert, availability) => {
    expect(alertOf(stock)).toBe(alert);
    expect(availabilityOf(stock)).toBe(availability);
  });

  test("a SKU that was never adjusted cannot be bought", () => {
    expect(availabilityOf(undefined)).toBe("OUT_OF_STOCK");
  });
});

test("what is owed at one location does not lessen what is free at another", () => {
  const [owed, there] = item([
    { onHand: -2n, backorderLimit: 2n },
    { onHand: 4n, reserved: 1n },
  ]).levels;
  expect(owed && freeAt(owed)).toBe(0n);
  expect(there && freeAt(there)).toBe(3n);
});

test("a level is overdrawn below what is held, the backorder limit counted", () => {
  const at = (onHand: bigint, reserved: bigint, backorderLimit: bigint) =>
    isOverdrawn({ location: "main", onHand, reserved, backorderLimit });
  expect([at(3n, 3n, 0n), at(2n, 3n, 0n), at(2n, 3n, 1n), at(-1n, 0n, 0n)]).toEqual([false, true, false, true]);
});

test("a change adds up per level, grows the version, and renews the alert", () => {
  const now = new Date(5);
  const before = item([{ onHand: 5n }, { onHand: 1n }]);
  const after = changed(
    before,
    [
      { sku: "sku", location: "L0", onHand: -2n, reserved: 1n },
      { sku: "sku", location: "L0", onHand: -2n, reserved: 0n },
      { sku: "other", location: "L1", onHand: 9n, reserved: 0n },
    ],
    now,
  );
  expect(after).toMatchObject({ version: 2n, updatedAt: now, alert: "LOW" });
  expect(after.levels.map(({ onHand, reserved }) => [onHand, reserved])).toEqual([
    [1n, 1n],
    [1n, 0n],
  ]);
});
