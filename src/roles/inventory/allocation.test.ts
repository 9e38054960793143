import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AppError } from "../../platform/errors.ts";
import { allocate, allocateLines } from "./allocation.ts";
import type { Level, StockItem } from "./stock.ts";
import { availableAt, freeAt, total } from "./stock.ts";

function level(location: string, onHand: bigint, reserved = 0n, backorderLimit = 0n): Level {
  return { location, onHand, reserved, backorderLimit };
}

function item(sku: string, levels: readonly Level[], tracked = true): StockItem {
  const rest = { id: sku, lowStockThreshold: 0n, version: 1n, alert: "NONE", updatedAt: new Date(0) } as const;
  return { sku, tracked, levels, ...rest };
}

const units = fc.bigInt(0n, 12n);
/** Levels as the database allows them: owed units are within the limit. */
const someLevels = fc
  .array(fc.record({ there: units, backorderLimit: units, reserved: units, owed: units }), { maxLength: 5 })
  .map((rows) =>
    rows.map(({ there, backorderLimit, reserved, owed }, at) => {
      const onHand = owed > 6n ? -(owed - 6n < backorderLimit ? owed - 6n : backorderLimit) : there;
      const most = onHand + backorderLimit;
      return level(`L${String(at)}`, onHand, reserved < most ? reserved : most, backorderLimit);
    }),
  );
const quantities = fc.bigInt(1n, 40n);

describe("allocate", () => {
  test("takes all there is room for, and nothing where there is not", () => {
    fc.assert(
      fc.property(someLevels, quantities, (levels, quantity) => {
        const shares = allocate(levels, quantity);
        expect(shares !== undefined).toBe(total(levels, availableAt) >= quantity);
        expect((shares ?? []).reduce((sum, share) => sum + share.quantity, 0n)).toBe(shares ? quantity : 0n);
      }),
    );
  });

  test("takes from each location at most once, in order, and no more than it can give", () => {
    fc.assert(
      fc.property(someLevels, quantities, (levels, quantity) => {
        const places = (allocate(levels, quantity) ?? []).map((share) => {
          const at = levels.findIndex(({ location }) => location === share.location);
          expect(share.quantity).toBeGreaterThan(0n);
          expect(share.quantity).toBeLessThanOrEqual(levels[at] ? availableAt(levels[at]) : -1n);
          return at;
        });
        expect(places).toEqual([...new Set(places)].sort((a, b) => a - b));
      }),
    );
  });

  test("owes only what is nowhere", () => {
    fc.assert(
      fc.property(someLevels, quantities, (levels, quantity) => {
        const shares = allocate(levels, quantity) ?? [];
        const taken = (of: Level) => shares.find(({ location }) => location === of.location)?.quantity ?? 0n;
        const owed = levels.some((of) => taken(of) > freeAt(of));
        expect(!owed || levels.every((of) => taken(of) >= freeAt(of))).toBe(true);
      }),
    );
  });

  test("splits only where no location has all, and takes the first that has", () => {
    fc.assert(
      fc.property(someLevels, quantities, (levels, quantity) => {
        const whole = levels.find((of) => freeAt(of) >= quantity);
        const shares = allocate(levels, quantity) ?? [];
        const isSplit = shares.length > 1 || shares[0]?.location !== whole?.location;
        expect(whole !== undefined && isSplit).toBe(false);
      }),
    );
  });

  test.each([
    ["the first that has all", [level("a", 3n), level("b", 9n)], 5n, { b: 5n }],
    ["a split in order", [level("a", 3n), level("b", 4n)], 5n, { a: 3n, b: 2n }],
    ["held units are not free", [level("a", 5n, 3n), level("b", 4n)], 5n, { a: 2n, b: 3n }],
    ["what is there before what is owed", [level("a", 3n, 0n, 10n), level("b", 2n)], 10n, { a: 8n, b: 2n }],
    ["what is owed goes to the first that may", [level("a", 1n), level("b", 0n, 0n, 5n)], 3n, { a: 1n, b: 2n }],
  ])("%s", (_, levels, quantity, expected) => {
    const shares = allocate(levels, quantity) ?? [];
    expect(Object.fromEntries(shares.map((share) => [share.location, share.quantity]))).toEqual(expected);
  });
});

describe("allocateLines", () => {
  const items = new Map([
    ["a", item("a", [level("main", 5n)])],
    ["free", item("free", [level("main", 0n)], false)],
  ]);

  test("a SKU that is not tracked is taken from nowhere, as many as are wanted", () => {
    expect(allocateLines(items, new Map([["free", 99n]]))).toEqual([
      { sku: "free", location: "", quantity: 99n, returned: 0n, tracked: false },
    ]);
  });

  test.each([
    ["a", 6n, "5"],
    ["nobody", 1n, "0"],
  ])("refuses the whole where there is not enough of %s", (sku, quantity, available) => {
    const demand = new Map([
      ["free", 1n],
      [sku, quantity],
    ]);
    const error = catching(() => allocateLines(items, demand));
    expect(error.reason).toBe("OUT_OF_STOCK");
    expect(error.details.metadata).toEqual({ sku, requested: String(quantity), available });
  });

  test("names the first SKU as they were asked for", () => {
    const demand = new Map([
      ["z", 1n],
      ["b", 1n],
    ]);
    expect(catching(() => allocateLines(items, demand)).details.metadata?.["sku"]).toBe("z");
  });
});

function catching(work: () => unknown): AppError {
  try {
    work();
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}
