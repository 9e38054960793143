import type { TextMap } from "./product.ts";

export interface SampleVariant {
  readonly sku: string;
  readonly options?: TextMap;
  readonly priceMinor: bigint;
}

export interface SampleProduct {
  readonly title: string;
  readonly description: string;
  /** `standard` where it is left out. */
  readonly taxCategory?: string;
  readonly attributes?: TextMap;
  readonly variants: readonly SampleVariant[];
}

export interface Samples {
  readonly currency: string;
  readonly categories: readonly { readonly name: string; readonly products: readonly SampleProduct[] }[];
}

/** What a new shop shows: enough to browse, filter and order. Prices are before taxes. */
export const SAMPLES: Samples = {
  currency: "EUR",
  categories: [
    {
      name: "Kitchen & Table",
      products: [
        {
          title: "Stoneware Mug",
          description: "A thick-walled mug with a reactive glaze; no two are alike. Holds 350 ml, dishwasher safe.",
          attributes: { brand: "Havn", material: "stoneware" },
          variants: [
            { sku: "MUG-SAND", options: { colour: "Sand" }, priceMinor: 1_390n },
            { sku: "MUG-MOSS", options: { colour: "Moss" }, priceMinor: 1_390n },
            { sku: "MUG-INK", options: { colour: "Ink" }, priceMinor: 1_490n },
          ],
        },
        {
          title: "Pour-Over Coffee Set",
          description: "Glass carafe with an oak collar and a reusable steel filter. Brews three cups.",
          attributes: { brand: "Havn", material: "borosilicate glass" },
          variants: [{ sku: "POUR-OVER-3", priceMinor: 3_890n }],
        },
        {
          title: "Carbon Steel Pan",
          description: "Pre-seasoned, light enough to toss, and good for a lifetime on any hob.",
          attributes: { brand: "Ferro", material: "carbon steel" },
          variants: [
            { sku: "PAN-24", options: { diameter: "24 cm" }, priceMinor: 4_450n },
            { sku: "PAN-28", options: { diameter: "28 cm" }, priceMinor: 5_290n },
          ],
        },
        {
          title: "Olive Wood Board",
          description: "Cut from a single piece, oiled by hand. Each has its own grain.",
          attributes: { brand: "Oliveto", material: "olive wood" },
          variants: [
            { sku: "BOARD-S", options: { size: "30 × 18 cm" }, priceMinor: 2_690n },
            { sku: "BOARD-L", options: { size: "42 × 22 cm" }, priceMinor: 4_190n },
          ],
        },
        {
          title: "Linen Napkins, Set of Four",
          description: "Stonewashed European linen that grows softer with every wash.",
          attributes: { brand: "Vlas", material: "linen" },
          variants: [
            { sku: "NAPKIN-WHITE", options: { colour: "White" }, priceMinor: 2_950n },
            { sku: "NAPKIN-RUST", options: { colour: "Rust" }, priceMinor: 2_950n },
          ],
        },
      ],
    },
    {
      name: "Clothing",
      products: [
        {
          title: "Organic Cotton T-Shirt",
          description: "Heavyweight jersey, cut straight, made in Portugal. Washes at 40 °C.",
          attributes: { brand: "Common Thread", material: "organic cotton" },
          variants: [
            { sku: "TEE-WHITE-S", options: { colour: "White", size: "S" }, priceMinor: 2_490n },
            { sku: "TEE-WHITE-M", options: { colour: "White", size: "M" }, priceMinor: 2_490n },
            { sku: "TEE-WHITE-L", options: { colour: "White", size: "L" }, priceMinor: 2_490n },
            { sku: "TEE-NAVY-S", options: { colour: "Navy", size: "S" }, priceMinor: 2_490n },
            { sku: "TEE-NAVY-M", options: { colour: "Navy", size: "M" }, priceMinor: 2_490n },
            { sku: "TEE-NAVY-L", options: { colour: "Navy", size: "L" }, priceMinor: 2_490n },
          ],
        },
        {
          title: "Merino Crew Sweater",
          description: "Fine merino, warm from September to May. Fully fashioned, with a ribbed collar.",
          attributes: { brand: "Common Thread", material: "merino wool" },
          variants: [
            { sku: "MERINO-S", options: { size: "S" }, priceMinor: 8_900n },
            { sku: "MERINO-M", options: { size: "M" }, priceMinor: 8_900n },
            { sku: "MERINO-L", options: { size: "L" }, priceMinor: 8_900n },
            { sku: "MERINO-XL", options: { size: "XL" }, priceMinor: 9_400n },
          ],
        },
        {
          title: "Waxed Canvas Jacket",
          description: "Keeps out rain and wind, and looks better every year. Two-way zip, four pockets.",
          attributes: { brand: "Northmoor", material: "waxed cotton" },
          variants: [
            { sku: "JACKET-M", options: { size: "M" }, priceMinor: 18_900n },
            { sku: "JACKET-L", options: { size: "L" }, priceMinor: 18_900n },
          ],
        },
        {
          title: "Wool Socks, Three Pairs",
          description: "Cushioned soles, flat toes, and wool that does not itch.",
          attributes: { brand: "Northmoor", material: "wool blend" },
          variants: [
            { sku: "SOCKS-36-39", options: { size: "36–39" }, priceMinor: 2_190n },
            { sku: "SOCKS-40-43", options: { size: "40–43" }, priceMinor: 2_190n },
            { sku: "SOCKS-44-47", options: { size: "44–47" }, priceMinor: 2_190n },
          ],
        },
        {
          title: "Leather Belt",
          description: "Vegetable-tanned full-grain leather, 32 mm wide, with a solid brass buckle.",
          attributes: { brand: "Sella", material: "leather" },
          variants: [
            { sku: "BELT-85", options: { length: "85 cm" }, priceMinor: 5_900n },
            { sku: "BELT-95", options: { length: "95 cm" }, priceMinor: 5_900n },
            { sku: "BELT-105", options: { length: "105 cm" }, priceMinor: 5_900n },
          ],
        },
      ],
    },
    {
      name: "Books",
      products: [
        {
          title: "The Quiet Harbour",
          description: "A novel of two sisters, one lighthouse, and the winter in which the ferry stopped running.",
          taxCategory: "reduced",
          attributes: { author: "Ines Valadares", pages: "312" },
          variants: [
            { sku: "BOOK-HARBOUR-PB", options: { format: "Paperback" }, priceMinor: 1_299n },
            { sku: "BOOK-HARBOUR-HC", options: { format: "Hardcover" }, priceMinor: 2_199n },
          ],
        },
        {
          title: "Bread, Slowly",
          description: "Forty loaves from four ingredients, with a timetable for people who work.",
          taxCategory: "reduced",
          attributes: { author: "Matti Salo", pages: "224" },
          variants: [{ sku: "BOOK-BREAD", priceMinor: 2_690n }],
        },
        {
          title: "A Field Guide to City Trees",
          description: "One hundred and twenty species by leaf, bark and silhouette. Fits a coat pocket.",
          taxCategory: "reduced",
          attributes: { author: "Hélène Marchand", pages: "288" },
          variants: [{ sku: "BOOK-TREES", priceMinor: 1_850n }],
        },
        {
          title: "Small Systems",
          description: "Essays on building software that one person can understand.",
          taxCategory: "reduced",
          attributes: { author: "Tomasz Rey", pages: "176" },
          variants: [
            { sku: "BOOK-SYSTEMS-PB", options: { format: "Paperback" }, priceMinor: 1_990n },
            { sku: "BOOK-SYSTEMS-HC", options: { format: "Hardcover" }, priceMinor: 2_990n },
          ],
        },
      ],
    },
    {
      name: "Pantry",
      products: [
        {
          title: "Filter Coffee, Yirgacheffe",
          description: "Washed, light roast: jasmine, apricot, black tea. Roasted on Tuesdays.",
          taxCategory: "reduced",
          attributes: { brand: "Third Street Roasters", origin: "Ethiopia" },
          variants: [
            { sku: "COFFEE-YIRGA-250", options: { weight: "250 g" }, priceMinor: 1_190n },
            { sku: "COFFEE-YIRGA-1000", options: { weight: "1 kg" }, priceMinor: 3_990n },
          ],
        },
        {
          title: "Extra Virgin Olive Oil",
          description: "From Koroneiki olives picked in October and pressed the same day.",
          taxCategory: "reduced",
          attributes: { brand: "Oliveto", origin: "Crete" },
          variants: [
            { sku: "OIL-500", options: { volume: "500 ml" }, priceMinor: 1_450n },
            { sku: "OIL-3000", options: { volume: "3 l" }, priceMinor: 5_900n },
          ],
        },
        {
          title: "Wildflower Honey",
          description: "Unheated, from hives at the edge of the heath. Crystallises in its own time.",
          taxCategory: "reduced",
          attributes: { brand: "Heidehof", origin: "Germany" },
          variants: [{ sku: "HONEY-500", priceMinor: 890n }],
        },
        {
          title: "Dark Chocolate 72 %",
          description: "Two ingredients, one estate, stone-ground for three days. 70 g.",
          taxCategory: "reduced",
          attributes: { brand: "Cacao Norte", origin: "Peru" },
          variants: [{ sku: "CHOC-72", priceMinor: 490n }],
        },
        {
          title: "Sencha Green Tea",
          description: "First flush from Shizuoka, deep steamed. Loose leaf, in a tin.",
          taxCategory: "reduced",
          attributes: { brand: "Midori", origin: "Japan" },
          variants: [{ sku: "TEA-SENCHA-100", priceMinor: 1_590n }],
        },
      ],
    },
    {
      name: "Desk & Travel",
      products: [
        {
          title: "Dot Grid Notebook",
          description: "A5, 160 numbered pages of fountain-pen-proof paper, lies flat.",
          attributes: { brand: "Folio", format: "A5" },
          variants: [
            { sku: "NOTE-A5-GREY", options: { colour: "Grey" }, priceMinor: 1_690n },
            { sku: "NOTE-A5-GREEN", options: { colour: "Green" }, priceMinor: 1_690n },
          ],
        },
        {
          title: "Brass Mechanical Pencil",
          description: "Turned from solid brass, 0.7 mm, with a weight that steadies the hand.",
          attributes: { brand: "Folio", material: "brass" },
          variants: [{ sku: "PENCIL-BRASS", priceMinor: 3_450n }],
        },
        {
          title: "Desk Lamp",
          description: "Warm light from 2200 to 4000 K, a touch dimmer, and an arm that stays where it is put.",
          attributes: { brand: "Lumen & Co", power: "9 W" },
          variants: [
            { sku: "LAMP-BLACK", options: { colour: "Black" }, priceMinor: 11_900n },
            { sku: "LAMP-WHITE", options: { colour: "White" }, priceMinor: 11_900n },
          ],
        },
        {
          title: "Vacuum Bottle",
          description: "Keeps tea hot for twelve hours and water cold for a day. Leakproof, steel throughout.",
          attributes: { brand: "Fjell", material: "stainless steel" },
          variants: [
            { sku: "BOTTLE-500", options: { volume: "0.5 l" }, priceMinor: 2_790n },
            { sku: "BOTTLE-750", options: { volume: "0.75 l" }, priceMinor: 3_290n },
          ],
        },
        {
          title: "Weekender Bag",
          description: "Recycled canvas with leather handles and a shoe pocket. Fits under the seat.",
          attributes: { brand: "Fjell", volume: "34 l" },
          variants: [{ sku: "WEEKENDER-34", priceMinor: 12_900n }],
        },
      ],
    },
  ],
};
