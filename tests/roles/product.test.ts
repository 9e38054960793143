import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { CallOptions } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { MoneySchema } from "#gen/commerce/common/v1/money_pb.ts";
import type {
  AddProductRequestSchema,
  Category,
  ListProductsRequestSchema,
  ListProductsResponse,
  Product,
  QueryProductsRequestSchema,
  VariantSchema,
} from "#gen/commerce/product/v1/product_pb.ts";
import { ProductEventSchema } from "#gen/commerce/product/v1/events_pb.ts";
import { ProductErrorReason, ProductOrder, ProductService, ProductState } from "#gen/commerce/product/v1/product_pb.ts";
import { newId } from "../../src/platform/id.ts";
import { productErrors } from "../../src/roles/product/errors.ts";
import productRole from "../../src/roles/product/index.ts";
import type { ProductTables } from "../../src/roles/product/schema.ts";
import { eventsOf } from "../support/outbox.ts";
import type { TestRole } from "../support/role.ts";
import { present, refusal, replayNote, settled, startTestRole } from "../support/role.ts";

const clientOf = (of: Pick<TestRole, "client">) => of.client(ProductService);
type Products = ReturnType<typeof clientOf>;

let role: TestRole;
let products: Products;

beforeAll(async () => {
  role = await startTestRole("product", productRole);
  products = clientOf(role);
});
afterAll(() => role[Symbol.asyncDispose]());

let count = 0;
const someSku = () => `SKU-${String((count += 1))}`;

type VariantInit = MessageInitShape<typeof VariantSchema>;

type Given = {
  options?: Record<string, string>;
  attributes?: Record<string, string>;
  price?: MessageInitShape<typeof MoneySchema>;
};

function variant(sku: string, amountMinor = 1_000n, more: Given = {}): VariantInit {
  return { sku, options: { of: sku }, price: { currencyCode: "EUR", amountMinor }, ...more };
}

/** What AddProduct takes; a variant of its own where none is said. */
function some(more: MessageInitShape<typeof AddProductRequestSchema> = {}) {
  return { title: "Thing", variants: [variant(someSku())], ...more };
}

async function add(
  more: MessageInitShape<typeof AddProductRequestSchema> = {},
  client: Products = products,
): Promise<Product> {
  return present((await client.addProduct(some(more))).product);
}

async function addCategory(name: string, parentId = "", client: Products = products): Promise<Category> {
  return present((await client.createCategory({ name, parentId })).category);
}

const skusOf = (product: Product) => product.variants.map(({ sku }) => sku);
const titlesOf = (answer: { readonly products: readonly Product[] }) => answer.products.map(({ title }) => title);
const fieldsOf = async (call: Promise<unknown>) => (await refusal(call)).details.fields?.map(({ field }) => field);
const reasonOf = async (call: Promise<unknown>) => (await refusal(call)).reason;

async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

/** The answers; all others must have been refused for this reason. */
async function successes<T>(calls: readonly Promise<T>[], reason: string): Promise<T[]> {
  const { answers, reasons } = await settled(calls);
  expect(reasons).toEqual(reasons.map(() => reason));
  return answers;
}

test("the role's errors are the reasons of its proto", () => {
  const reasons = Object.keys(ProductErrorReason).filter((name) => name !== "UNSPECIFIED");
  expect(Object.keys(productErrors).sort()).toEqual(reasons.sort());
});

describe("AddProduct", () => {
  test("answers the product as GetProduct has it, by id and by each SKU", async () => {
    const category = await addCategory("Mugs");
    const [a, b] = [someSku(), someSku()];
    const request = some({
      title: "Mug",
      description: "Holds\n350 ml.",
      categoryId: category.id.toUpperCase(),
      taxCategory: "reduced",
      variants: [
        variant(b, 9_223_372_036_854_775_807n, { attributes: { weight_grams: "350" } }),
        variant(a, 0n, { options: {} }),
      ],
      attributes: { brand: "Havn", 'odd "key"': "ünï\\code 😀" },
      imageUrls: ["https://example.com/a,b.jpg", 'https://example.com/"c"\\{}.jpg'],
    });
    const product = present((await products.addProduct(request)).product);
    expect(product).toMatchObject({
      ...request,
      categoryId: category.id,
      state: ProductState.ACTIVE,
      version: 1,
      variants: request.variants,
    });
    expect(timestampDate(present(product.createdAt))).toEqual(role.clock.now());
    expect(product.updatedAt).toEqual(product.createdAt);
    for (const key of [{ id: product.id }, { id: product.id.toUpperCase() }, { sku: a }, { sku: b }]) {
      expect((await products.getProduct(key)).product).toEqual(product);
    }
    expect((await add()).taxCategory).toBe("standard");
  });

  test("names all faulty fields, of the variants too", async () => {
    expect(await fieldsOf(products.addProduct({ title: "", variants: [] }))).toEqual(["title", "variants"]);
    const sku = someSku();
    const faulty = [
      variant(sku),
      variant(sku.toLowerCase(), 1n, { price: { currencyCode: "USD", amountMinor: 1n } }),
      variant(someSku(), -1n),
      variant(someSku(), 1n, { price: { currencyCode: "ZZZ", amountMinor: 1n } }),
    ];
    expect(await fieldsOf(add({ variants: faulty }))).toEqual([
      "variants[1].sku",
      "variants[1].price.currency_code",
      "variants[2].price.amount_minor",
      "variants[3].price.currency_code",
    ]);
    expect(await reasonOf(products.getProduct({ sku }))).toBe("NOT_FOUND");
  });

  test("refuses a SKU that another product has, whatever its case, and an unknown category", async () => {
    const [taken, free] = [someSku(), someSku()];
    await add({ variants: [variant(taken)] });
    for (const sku of [taken, taken.toLowerCase()]) {
      expect(await refusal(add({ variants: [variant(free), variant(sku)] }))).toMatchObject({
        kind: "already_exists",
        reason: "SKU_TAKEN",
        details: { metadata: { sku } },
      });
    }
    // Nothing of the refused ones is left.
    await add({ variants: [variant(free)] });
    expect(await refusal(add({ categoryId: newId() }))).toMatchObject({
      kind: "failed_precondition",
      reason: "CATEGORY_UNKNOWN",
    });
  });

  test("of 20 at once with one SKU, one succeeds", async () => {
    const sku = someSku();
    const calls = Array.from({ length: 20 }, (_, index) =>
      add({ variants: [variant(index % 2 === 0 ? sku : sku.toLowerCase())] }),
    );
    expect(await successes(calls, "SKU_TAKEN")).toHaveLength(1);
    const rows = await role.database<ProductTables>().selectFrom("variants").select("sku").execute();
    expect(rows.filter((row) => row.sku.toLowerCase() === sku.toLowerCase())).toHaveLength(1);
  });

  test("20 at once with the same SKUs in different orders do not lock each other out", async () => {
    const skus = Array.from({ length: 10 }, someSku);
    const calls = Array.from({ length: 20 }, (_, index) => {
      const variants = skus.map((sku) => variant(sku));
      return add({ variants: index % 2 === 0 ? variants : variants.reverse() });
    });
    const [winner, ...others] = await successes(calls, "SKU_TAKEN");
    expect(others).toEqual([]);
    expect(new Set(skusOf(present(winner)))).toEqual(new Set(skus));
  });

  test("a repeated key answers as the first call did; in 20 calls at once it has one effect", async () => {
    const request = { ...some({ attributes: { a: "1", b: "2" } }), idempotencyKey: "add-1" };
    const replica = clientOf(await role.replica());
    const calls = Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? products : replica).addProduct(request));
    const [first, ...others] = await Promise.all(calls);
    for (const other of others) expect(other).toEqual(first);
    await products.updateProduct({ id: present(first?.product).id, title: "Changed since" });

    const note = replayNote();
    const sameInAnotherOrder = { ...request, attributes: { b: "2", a: "1" } };
    expect(await replica.addProduct(sameInAnotherOrder, note.options)).toEqual(first);
    expect(note.replayed).toBe("true");
    expect(await reasonOf(products.addProduct({ ...request, title: "Other" }))).toBe("IDEMPOTENCY_KEY_REUSED");
  });
});

describe("GetProduct and BatchGetProducts", () => {
  test("GetProduct: absent, malformed, by both or neither", async () => {
    const { variants } = await add();
    const sku = present(variants[0]).sku;
    expect(await refusal(products.getProduct({ sku: "NO-SUCH" }))).toMatchObject({
      kind: "not_found",
      details: { resource: { type: "product", name: "NO-SUCH" } },
    });
    expect(await reasonOf(products.getProduct({ sku: sku.toLowerCase() }))).toBe("NOT_FOUND");
    expect(await reasonOf(products.getProduct({ id: newId() }))).toBe("NOT_FOUND");
    expect(await fieldsOf(products.getProduct({ id: "x" }))).toEqual(["id"]);
    expect(await reasonOf(products.getProduct({ id: newId(), sku }))).toBe("INVALID_REQUEST");
    expect(await reasonOf(products.getProduct({}))).toBe("INVALID_REQUEST");
  });

  test("BatchGetProducts answers each once, in the order asked for, with one statement", async () => {
    const [a1, a2] = [someSku(), someSku()];
    const a = await add({ variants: [variant(a1), variant(a2)] });
    const b = await add();
    const archived = present((await products.archiveProduct({ id: (await add()).id })).product);
    const sku = present(skusOf(b)[0]);
    const absent = newId();
    const before = role.statements.length;
    const answer = await products.batchGetProducts({
      ids: [archived.id, absent, a.id.toUpperCase(), a.id],
      skus: [a2, sku, "NO-SUCH", a1, sku, a1.toLowerCase()],
    });
    expect(role.statements.length - before).toBe(1);
    expect(answer.products).toEqual([archived, a, b]);
    expect(answer.absentIds).toEqual([absent]);
    expect(answer.absentSkus).toEqual(["NO-SUCH", a1.toLowerCase()]);
    expect(await reasonOf(products.batchGetProducts({}))).toBe("INVALID_REQUEST");
    expect(await reasonOf(products.batchGetProducts({ skus: Array.from({ length: 501 }, someSku) }))).toBe(
      "INVALID_REQUEST",
    );
  });
});

describe("UpdateProduct", () => {
  test("changes what is present, and nothing where nothing is", async () => {
    const category = await addCategory("Updated");
    const product = await add({ attributes: { brand: "Old" }, imageUrls: ["https://example.com/1.jpg"] });
    role.clock.advance(2_000);
    const titled = present((await products.updateProduct({ id: product.id, title: "New" })).product);
    expect(titled).toEqual({
      ...product,
      title: "New",
      version: 2,
      updatedAt: timestampFromDate(role.clock.now()),
    });
    const changed = present(
      (
        await products.updateProduct({
          id: product.id.toUpperCase(),
          expectedVersion: 2,
          description: "Text",
          categoryId: category.id.toUpperCase(),
          taxCategory: "zero",
          attributes: { attributes: { colour: "Red" } },
          imageUrls: { imageUrls: [] },
        })
      ).product,
    );
    expect(changed).toMatchObject({
      title: "New",
      description: "Text",
      categoryId: category.id,
      taxCategory: "zero",
      attributes: { colour: "Red" },
      imageUrls: [],
      variants: product.variants,
      version: 3,
    });
    const cleared = await products.updateProduct({ id: product.id, description: "", categoryId: "", attributes: {} });
    expect(cleared.product).toMatchObject({ description: "", categoryId: "", attributes: {}, version: 4 });
    role.clock.advance(2_000);
    expect(await products.updateProduct({ id: product.id, expectedVersion: 4 })).toEqual(cleared);
    expect(await products.getProduct({ id: product.id })).toMatchObject({ product: cleared.product });
  });

  test("refuses a stale version, an absent product, an unknown category, a SKU of another product", async () => {
    const [product, other] = [await add(), await add()];
    await products.updateProduct({ id: product.id, title: "v2" });
    for (const title of ["x", undefined]) {
      const stale = products.updateProduct({ id: product.id, expectedVersion: 1, ...(title && { title }) });
      expect(await refusal(stale)).toMatchObject({
        kind: "aborted",
        reason: "VERSION_MISMATCH",
        details: { metadata: { current_version: "2" } },
      });
    }
    expect(await reasonOf(products.updateProduct({ id: newId(), title: "x" }))).toBe("NOT_FOUND");
    expect(await reasonOf(products.updateProduct({ id: product.id, categoryId: newId() }))).toBe("CATEGORY_UNKNOWN");
    const sku = present(skusOf(other)[0]);
    const variants = { variants: [variant(someSku()), variant(sku)] };
    expect(await refusal(products.updateProduct({ id: product.id, variants }))).toMatchObject({
      reason: "SKU_TAKEN",
      details: { metadata: { sku } },
    });
    expect((await products.getProduct({ id: product.id })).product).toMatchObject({ title: "v2", version: 2 });
    const faulty = { variants: [variant("A", -1n)] };
    expect(await fieldsOf(products.updateProduct({ id: product.id, variants: faulty }))).toEqual([
      "variants.variants[0].price.amount_minor",
    ]);
  });

  test("a variant left out retires, its SKU stays taken, and giving it again brings it back", async () => {
    const [kept, gone, late] = [someSku(), someSku(), someSku()];
    const { id } = await add({ variants: [variant(kept, 500n), variant(gone, 100n)] });
    const put = async (...variants: VariantInit[]) =>
      skusOf(present((await products.updateProduct({ id, variants: { variants } })).product));
    expect(await put(variant(late, 700n), variant(kept, 600n))).toEqual([late, kept]);
    expect((await products.getProduct({ sku: kept })).product?.variants[1]?.price?.amountMinor).toBe(600n);
    expect(await reasonOf(products.getProduct({ sku: gone }))).toBe("NOT_FOUND");
    expect((await products.batchGetProducts({ skus: [gone, kept] })).absentSkus).toEqual([gone]);
    expect(await reasonOf(add({ variants: [variant(gone)] }))).toBe("SKU_TAKEN");
    // A retired SKU of the product itself comes back as it is, in no other case.
    expect(await reasonOf(put(variant(gone.toLowerCase())))).toBe("SKU_TAKEN");
    expect(await put(variant(gone, 50n), variant(kept))).toEqual([gone, kept]);
    expect((await products.getProduct({ sku: gone })).product?.variants[0]?.price?.amountMinor).toBe(50n);
    // All may change their currency together.
    const usd = { price: { currencyCode: "USD", amountMinor: 7n } };
    expect(await put(variant(gone, 0n, usd))).toEqual([gone]);
    const cheap = await products.queryProducts({ maxPrice: { currencyCode: "USD", amountMinor: 7n } });
    expect(cheap.products.map((product) => product.id)).toContain(id);
  });

  test("of 10 at once with one expected_version, one succeeds", async () => {
    const { id } = await add();
    const calls = Array.from({ length: 10 }, (_, index) =>
      products.updateProduct({ id, expectedVersion: 1, title: `t${String(index)}` }),
    );
    const winners = await successes(calls, "VERSION_MISMATCH");
    expect(winners).toHaveLength(1);
    expect((await products.getProduct({ id })).product).toEqual(winners[0]?.product);
  });

  test("changes of variants and of words at once leave the search as the product is", async () => {
    const { id } = await add();
    const sku = someSku();
    await Promise.all([
      products.updateProduct({ id, title: "Zirkonium" }),
      products.updateProduct({ id, variants: { variants: [variant(sku)] } }),
      products.updateProduct({ id, description: "Wolframit" }),
    ]);
    for (const text of ["zirkonium", sku, "wolframit"]) {
      expect((await products.queryProducts({ text })).products.map((product) => product.id)).toEqual([id]);
    }
  });

  test("a repeated key answers as the first call did", async () => {
    const { id } = await add();
    const request = { id, idempotencyKey: "change" };
    const changes = [
      (options: CallOptions) => products.updateProduct({ ...request, title: "one" }, options),
      (options: CallOptions) => products.archiveProduct(request, options),
      (options: CallOptions) => products.unarchiveProduct(request, options),
    ];
    for (const change of changes) {
      const [first, second] = [replayNote(), replayNote()];
      const answer = await change(first.options);
      expect(await change(second.options)).toEqual(answer);
      expect([first.replayed, second.replayed]).toEqual([null, "true"]);
    }
    expect((await products.getProduct({ id })).product).toMatchObject({ title: "one", version: 4 });
    const reused = products.updateProduct({ ...request, title: "two" });
    expect(await reasonOf(reused)).toBe("IDEMPOTENCY_KEY_REUSED");
  });
});

test("ArchiveProduct and UnarchiveProduct: once is a change, twice is none; archived ones can still be read", async () => {
  const product = await add({ title: "Archivable" });
  const sku = present(skusOf(product)[0]);
  role.clock.advance(1_000);
  const request = { id: product.id.toUpperCase(), expectedVersion: 1 };
  const { product: archived } = await products.archiveProduct(request);
  expect(archived).toMatchObject({ state: ProductState.ARCHIVED, version: 2 });
  role.clock.advance(1_000);
  expect((await products.archiveProduct(request)).product).toEqual(archived);
  expect((await products.getProduct({ sku })).product).toEqual(archived);
  expect((await products.queryProducts({ text: "archivable" })).products).toEqual([]);
  expect(await reasonOf(add({ variants: [variant(sku)] }))).toBe("SKU_TAKEN");

  expect(await refusal(products.unarchiveProduct(request))).toMatchObject({
    reason: "VERSION_MISMATCH",
    details: { metadata: { current_version: "2" } },
  });
  const { product: active } = await products.unarchiveProduct({ id: product.id });
  expect(active).toMatchObject({ state: ProductState.ACTIVE, version: 3 });
  expect((await products.unarchiveProduct({ id: product.id })).product).toEqual(active);
  expect(await reasonOf(products.archiveProduct({ id: newId() }))).toBe("NOT_FOUND");
  expect(await reasonOf(products.unarchiveProduct({ id: newId() }))).toBe("NOT_FOUND");
});

test("10 ArchiveProduct at once are one change", async () => {
  const { id } = await add();
  const answers = await Promise.all(Array.from({ length: 10 }, () => products.archiveProduct({ id })));
  expect(answers.map(({ product }) => product?.version)).toEqual(Array.from({ length: 10 }, () => 2));
});

describe("QueryProducts", () => {
  type Query = MessageInitShape<typeof QueryProductsRequestSchema>;

  async function allPages(client: Products, query: Query, between: () => Promise<unknown> = () => Promise.resolve()) {
    const found: Product[] = [];
    let pageToken = "";
    do {
      const page = await client.queryProducts({ pageSize: 3, ...query, pageToken });
      expect(page.products.length).toBeLessThanOrEqual(3);
      found.push(...page.products);
      pageToken = page.nextPageToken;
      await between();
    } while (pageToken !== "");
    return found;
  }

  test("pages in every order, without loss or duplicates while products are added", async () => {
    await using alone = await startTestRole("product", productRole);
    const client = clientOf(alone);
    const names = ["Éclair", "apple", "Banana", "äpfel", "cherry", "Apple", "date", "elder", "Zucchini", "fig", "1e5"];
    const added: Product[] = [];
    for (const [index, title] of names.entries()) {
      const prices = [variant(someSku(), 5_000n), variant(someSku(), BigInt((index * 7) % 4) * 100n)];
      added.push(await add({ title: `${title} fruit`, variants: prices }, client));
    }
    await client.archiveProduct({ id: (await add({ title: "Hidden fruit" }, client)).id });
    const lowest = (product: Product) =>
      product.variants.map(({ price }) => price?.amountMinor ?? 0n).reduce((a, b) => (a < b ? a : b));

    const orders: readonly (readonly [Query, (found: Product[]) => unknown, unknown])[] = [
      [{ order: ProductOrder.NEWEST }, (found) => found.map(({ id }) => id), added.map(({ id }) => id).reverse()],
      [{}, (found) => found.map(({ id }) => id), added.map(({ id }) => id).reverse()],
      [
        { order: ProductOrder.TITLE },
        (found) => found.map(({ title }) => title.replace(" fruit", "")),
        ["1e5", "äpfel", "apple", "Apple", "Banana", "cherry", "date", "Éclair", "elder", "fig", "Zucchini"],
      ],
      [
        { order: ProductOrder.PRICE_ASCENDING },
        (found) => found.map(lowest),
        added.map(lowest).sort((a, b) => Number(a - b)),
      ],
      [
        { order: ProductOrder.PRICE_DESCENDING },
        (found) => found.map(lowest),
        added.map(lowest).sort((a, b) => Number(b - a)),
      ],
      [{ text: "fruit" }, (found) => new Set(found.map(({ id }) => id)), new Set(added.map(({ id }) => id))],
    ];
    for (const [query, part, expected] of orders) {
      // Rows that sort before or beside those seen already must not move the others.
      const late: Product[] = [];
      const found = await allPages(client, query, async () => late.push(await add({ title: "0" }, client)));
      expect(new Set(found.map(({ id }) => id)).size).toBe(found.length);
      const lateIds = new Set(late.map(({ id }) => id));
      expect(part(found.filter(({ id }) => !lateIds.has(id)))).toEqual(expected);
      for (const { id } of late) await client.archiveProduct({ id });
    }
  });

  test("finds words of title, description, SKUs, options and attributes, the last one by its beginning", async () => {
    await using alone = await startTestRole("product", productRole);
    const client = clientOf(alone);
    await add({ title: "Crème Brûlée Torch", description: "For the kitchen." }, client);
    await add({ title: "Plain Torch", description: "Not for crème brûlée.", attributes: { brand: "Féu" } }, client);
    const options = { colour: "Vermilion" };
    await add({ title: "Mug", variants: [variant("TEE-1e5.X_9", 1n, { options, attributes: { w: "350g" } })] }, client);
    const find = async (text: string) => titlesOf(await client.queryProducts({ text }));
    // The title counts for more than the description.
    expect(await find("creme brul")).toEqual(["Crème Brûlée Torch", "Plain Torch"]);
    expect(await find("TORCH kit")).toEqual(["Crème Brûlée Torch"]);
    expect(await find("kit torch")).toEqual([]);
    expect(await find("feu")).toEqual(["Plain Torch"]);
    // The last two have what would be operators.
    for (const text of ["tee-1e5.x_9", "TEE-1e", "verm", "350g", "tee 9", "'tee'", "tee & !mu"]) {
      expect(await find(text)).toEqual(["Mug"]);
    }
    expect(await find("m:*u")).toEqual([]);
    expect(await find("?!")).toEqual([]);
    expect(await find("  ")).toHaveLength(3);
    expect(titlesOf(await client.queryProducts({ text: "torch", order: ProductOrder.TITLE }))).toEqual([
      "Crème Brûlée Torch",
      "Plain Torch",
    ]);
    const mug = present((await client.getProduct({ sku: "TEE-1e5.X_9" })).product);
    await client.updateProduct({ id: mug.id, title: "Beaker" });
    expect([await find("mug"), await find("beak"), await find("tee")]).toEqual([[], ["Beaker"], ["Beaker"]]);
  });

  test("filters by category with those below, and by the lowest price in its currency", async () => {
    await using alone = await startTestRole("product", productRole);
    const client = clientOf(alone);
    const top = await addCategory("Top", "", client);
    const middle = await addCategory("Middle", top.id, client);
    const bottom = await addCategory("Bottom", middle.id, client);
    const other = await addCategory("Other", "", client);
    const eur = (amount: bigint) => ({ currencyCode: "EUR", amountMinor: amount });
    const usd = (amount: bigint) => ({ currencyCode: "USD", amountMinor: amount });
    const priced = (amount: bigint) => [variant(someSku(), amount), variant(someSku(), amount + 9_999n)];
    await add({ title: "at top", categoryId: top.id, variants: priced(100n) }, client);
    await add({ title: "at bottom", categoryId: bottom.id, variants: priced(200n) }, client);
    await add({ title: "elsewhere", categoryId: other.id, variants: priced(300n) }, client);
    await add({ title: "dollars", variants: [variant(someSku(), 0n, { price: usd(200n) })] }, client);
    const find = async (query: Query) => titlesOf(await client.queryProducts({ order: ProductOrder.TITLE, ...query }));
    expect(await find({ categoryId: top.id.toUpperCase() })).toEqual(["at bottom", "at top"]);
    expect(await find({ categoryId: middle.id })).toEqual(["at bottom"]);
    expect(await find({ categoryId: newId() })).toEqual([]);
    expect(await find({ minPrice: eur(200n) })).toEqual(["at bottom", "elsewhere"]);
    expect(await find({ maxPrice: eur(200n) })).toEqual(["at bottom", "at top"]);
    expect(await find({ minPrice: eur(101n), maxPrice: eur(299n) })).toEqual(["at bottom"]);
    expect(await find({ minPrice: usd(0n) })).toEqual(["dollars"]);
    expect(await find({ categoryId: top.id, maxPrice: eur(150n), text: "top" })).toEqual(["at top"]);
    expect(await fieldsOf(find({ minPrice: eur(1n), maxPrice: usd(2n) }))).toEqual(["max_price.currency_code"]);
    expect(await fieldsOf(find({ minPrice: { currencyCode: "ZZZ", amountMinor: 1n } }))).toEqual([
      "min_price.currency_code",
    ]);
    expect(await fieldsOf(find({ categoryId: "x" }))).toEqual(["category_id"]);
  });

  test("a token is of its query; the longest title fits one", async () => {
    for (let i = 0; i < 3; i += 1) await add({ title: `\u{1d4d0}`.repeat(99) + String(i) });
    const query = {
      order: ProductOrder.TITLE,
      text: "",
      pageSize: 1,
      minPrice: { currencyCode: "EUR", amountMinor: 0n },
    };
    let pageToken = "";
    do {
      const page = await products.queryProducts({ ...query, pageToken });
      pageToken = page.nextPageToken;
      expect(pageToken.length).toBeLessThanOrEqual(1_000);
    } while (pageToken !== "");
    const { nextPageToken } = await products.queryProducts(query);
    const other = products.queryProducts({ ...query, order: ProductOrder.NEWEST, pageToken: nextPageToken });
    expect(await fieldsOf(other)).toEqual(["page_token"]);
    expect(await fieldsOf(products.queryProducts({ pageSize: -1 }))).toEqual(["page_size"]);
  });
});

describe("ListProducts", () => {
  type List = MessageInitShape<typeof ListProductsRequestSchema>;
  const total = 1_203;
  let alone: TestRole;
  let client: Products;
  let ids: string[];

  beforeAll(async () => {
    alone = await startTestRole("product", productRole);
    client = clientOf(alone);
    const added: Product[] = [];
    // Some at a time, so that the pool is busy and not queueing.
    for (let from = 0; from < total; from += 50) {
      const length = Math.min(50, total - from);
      added.push(...(await Promise.all(Array.from({ length }, () => add({}, client)))));
    }
    ids = added.map(({ id }) => id).sort();
  });
  afterAll(() => alone[Symbol.asyncDispose]());

  const chunksOf = (list: List): Promise<ListProductsResponse[]> => all(client.listProducts(list));
  const idsOf = (chunks: readonly ListProductsResponse[]) =>
    chunks.flatMap((chunk) => chunk.products.map(({ id }) => id));

  test("streams everything in the order of ids, one statement a page, and each product whole", async () => {
    const before = alone.statements.length;
    const chunks = await chunksOf({});
    expect(alone.statements.slice(before)).toEqual(["SelectQueryNode", "SelectQueryNode", "SelectQueryNode"]);
    expect(chunks.map((chunk) => chunk.products.length)).toEqual([500, 500, 203]);
    expect(idsOf(chunks)).toEqual(ids);
    const first = present(chunks[0]?.products[0]);
    expect((await client.getProduct({ id: first.id })).product).toEqual(first);
  });

  test("resumes after any chunk, while products are added", async () => {
    const [first] = await chunksOf({});
    const second = await chunksOf({ resumeToken: present(first).resumeToken });
    expect(second.map((chunk) => chunk.products.length)).toEqual([500, 203]);
    const late = await add({}, client);
    const resumeToken = present(second.at(-1)).resumeToken;
    const rest = await chunksOf({ resumeToken });
    expect(idsOf([present(first), ...second, ...rest])).toEqual([...ids, late.id]);
    expect(await chunksOf({ resumeToken: present(rest.at(-1)).resumeToken })).toEqual([]);
    expect(await fieldsOf(chunksOf({ resumeToken, includeArchived: true }))).toEqual(["resume_token"]);
    expect(await fieldsOf(chunksOf({ resumeToken: "AAAA" }))).toEqual(["resume_token"]);
    expect(await fieldsOf(chunksOf({ limit: -1n }))).toEqual(["limit"]);
    await client.archiveProduct({ id: late.id });
  });

  test("keeps its limit over all that resumes it, and is not resumed with another", async () => {
    const limit = 1_002n;
    const chunks = await chunksOf({ limit });
    expect(idsOf(chunks)).toEqual(ids.slice(0, 1_002));
    const [first, second, third] = chunks.map(({ resumeToken }) => resumeToken);
    const rest = await chunksOf({ limit, resumeToken: present(first) });
    expect(idsOf(rest)).toEqual(ids.slice(500, 1_002));
    expect(rest.map(({ resumeToken }) => resumeToken)).toEqual([second, third]);
    expect(await chunksOf({ limit, resumeToken: present(third) })).toEqual([]);
    expect(await fieldsOf(chunksOf({ limit: 600n, resumeToken: present(first) }))).toEqual(["resume_token"]);
    expect(await fieldsOf(chunksOf({ resumeToken: present(first) }))).toEqual(["resume_token"]);
  });

  test("filters: archived ones, a category with those below, changes since a time", async () => {
    const top = await addCategory("Listed", "", client);
    const below = await addCategory("Below", top.id, client);
    alone.clock.advance(1_000);
    const since = timestampFromDate(alone.clock.now());
    const inCategory = await add({ categoryId: below.id }, client);
    const archived = await add({}, client);
    await client.archiveProduct({ id: archived.id });
    expect(idsOf(await chunksOf({ categoryId: top.id.toUpperCase() }))).toEqual([inCategory.id]);
    expect(idsOf(await chunksOf({ updatedSince: since }))).toEqual([inCategory.id]);
    expect(idsOf(await chunksOf({ updatedSince: since, includeArchived: true }))).toEqual([inCategory.id, archived.id]);
    const later = { seconds: since.seconds, nanos: since.nanos + 1 };
    expect(idsOf(await chunksOf({ updatedSince: later, includeArchived: true }))).toEqual([]);
    for (const updatedSince of [{ seconds: 2n ** 62n }, { seconds: -(2n ** 40n) }, { nanos: -1 }]) {
      expect(await fieldsOf(chunksOf({ updatedSince }))).toEqual(["updated_since"]);
    }
    expect(await chunksOf({ updatedSince: { seconds: -62_135_596_800n }, limit: 1n })).toHaveLength(1);
  });

  test("an empty catalogue is a stream without a message", async () => {
    await using empty = await startTestRole("product", productRole);
    expect(await all(clientOf(empty).listProducts({}))).toEqual([]);
  });

  test("reads one page ahead of its reader, and nothing after an abort", async () => {
    const abort = new AbortController();
    const before = alone.statements.length;
    const stream = client.listProducts({}, { signal: abort.signal })[Symbol.asyncIterator]();
    await stream.next();
    expect(alone.statements.length - before).toBe(2);
    abort.abort();
    expect((await refusal(stream.next())).kind).toBe("canceled");
    // A call that comes after has had its statement: what was to be read has been.
    await client.getProduct({ id: present(ids[0]) });
    expect(alone.statements.length - before).toBe(3);

    const reader = client.listProducts({})[Symbol.asyncIterator]();
    await reader.next();
    await reader.return?.();
    await client.getProduct({ id: present(ids[0]) });
    expect(alone.statements.length - before).toBe(6);
  });

  test("large products make smaller chunks", async () => {
    await using large = await startTestRole("product", productRole);
    const writer = clientOf(large);
    for (let i = 0; i < 30; i += 1) {
      const attributes = Object.fromEntries(
        Array.from({ length: 50 }, (_, index) => [`key${String(index)}`, "ü".repeat(1_000)]),
      );
      await add({ attributes }, writer);
    }
    const chunks = await all(writer.listProducts({}));
    expect(chunks.map((chunk) => chunk.products.length)).toEqual([5, 5, 5, 5, 5, 5]);
  });
});

describe("categories", () => {
  test("CreateCategory answers the category as GetCategory has it, by id and slug", async () => {
    const top = present(
      (await products.createCategory({ name: "Röcke & Hosen", position: -3, slug: "roecke" })).category,
    );
    expect(top).toMatchObject({ name: "Röcke & Hosen", slug: "roecke", parentId: "", position: -3, version: 1 });
    expect(timestampDate(present(top.createdAt))).toEqual(role.clock.now());
    const child = await addCategory("Kinder", top.id.toUpperCase());
    const grandchild = await addCategory("Baby", child.id);
    expect(await products.getCategory({ id: top.id.toUpperCase() })).toMatchObject({ category: top, ancestors: [] });
    const bySlug = await products.getCategory({ slug: grandchild.slug });
    expect(bySlug.category).toEqual(grandchild);
    expect(bySlug.ancestors).toEqual([top, child]);
    expect(await reasonOf(products.getCategory({ slug: "no-such" }))).toBe("NOT_FOUND");
    expect(await reasonOf(products.getCategory({ id: newId() }))).toBe("NOT_FOUND");
    expect(await reasonOf(products.getCategory({}))).toBe("INVALID_REQUEST");
  });

  test("a slug is made of the name, with a number where that is taken, also by 10 calls at once", async () => {
    const made = await Promise.all(Array.from({ length: 10 }, () => addCategory("Thé vert")));
    const expected = ["the-vert", ...Array.from({ length: 9 }, (_, index) => `the-vert-${String(index + 2)}`)];
    expect(made.map(({ slug }) => slug).sort()).toEqual(expected.sort());
    const given = { name: "Tea", slug: "the-vert" };
    expect(await refusal(products.createCategory(given))).toMatchObject({
      kind: "already_exists",
      reason: "SLUG_TAKEN",
    });
    const [first, second] = made;
    const renamed = products.updateCategory({ id: present(first).id, slug: present(second).slug });
    expect(await reasonOf(renamed)).toBe("SLUG_TAKEN");
    expect(await fieldsOf(products.createCategory({ name: "x", slug: "Not A Slug" }))).toEqual(["slug"]);
    expect(await reasonOf(products.createCategory({ name: "x", parentId: newId() }))).toBe("CATEGORY_UNKNOWN");
  });

  test("ListCategories: parents before their children, siblings by position, then name", async () => {
    await using alone = await startTestRole("product", productRole);
    const client = clientOf(alone);
    const make = async (name: string, position: number, parentId = "") =>
      present((await client.createCategory({ name, position, parentId })).category);
    const b = await make("B", 1);
    const a = await make("A", 2);
    const b2 = await make("Ärger", 0, b.id);
    await make("Zorn", 0, b.id);
    await make("deep", 0, b2.id);
    await make("first", -1, b.id);
    await make("child of A", 0, a.id);
    await make("0", 2);
    const names = async (parentId = "") =>
      (await client.listCategories({ parentId })).categories.map(({ name }) => name);
    expect(await names()).toEqual(["B", "first", "Ärger", "deep", "Zorn", "0", "A", "child of A"]);
    expect(await names(b.id.toUpperCase())).toEqual(["first", "Ärger", "deep", "Zorn"]);
    expect(await names(newId())).toEqual([]);
    expect((await client.listCategories({})).categories[0]).toEqual(b);
  });

  test("UpdateCategory renames, reorders and moves, guarded by the version", async () => {
    const [from, to] = [await addCategory("From"), await addCategory("To")];
    const moved = await addCategory("Moved", from.id);
    const child = await addCategory("Child", moved.id);
    role.clock.advance(1_000);
    const update = async (change: Parameters<Products["updateCategory"]>[0]) =>
      present((await products.updateCategory({ id: moved.id.toUpperCase(), ...change })).category);
    expect(await update({ name: "Renamed", position: 7, slug: "renamed" })).toEqual({
      ...moved,
      name: "Renamed",
      slug: "renamed",
      position: 7,
      version: 2,
      updatedAt: timestampFromDate(role.clock.now()),
    });
    const there = await update({ parentId: to.id.toUpperCase(), expectedVersion: 2 });
    expect(there).toMatchObject({ parentId: to.id, version: 3 });
    expect((await products.getCategory({ id: child.id })).ancestors.map(({ id }) => id)).toEqual([to.id, moved.id]);
    expect(await update({})).toEqual(there);
    expect(await update({ parentId: "" })).toMatchObject({ parentId: "", version: 4 });
    for (const change of [{ name: "x" }, {}]) {
      expect(await refusal(update({ ...change, expectedVersion: 3 }))).toMatchObject({
        reason: "VERSION_MISMATCH",
        details: { metadata: { current_version: "4" } },
      });
    }
    expect(await reasonOf(update({ id: newId(), name: "x" }))).toBe("NOT_FOUND");
    expect(await reasonOf(update({ id: newId() }))).toBe("NOT_FOUND");
    expect(await reasonOf(update({ parentId: newId() }))).toBe("CATEGORY_UNKNOWN");
    expect(await reasonOf(update({ parentId: moved.id }))).toBe("CATEGORY_CYCLE");
    expect(await reasonOf(update({ parentId: child.id }))).toBe("CATEGORY_CYCLE");
  });

  test("the tree has at most ten levels, by creation and by moves", async () => {
    const chain = [await addCategory("Level 1")];
    for (let level = 2; level <= 10; level += 1) {
      chain.push(await addCategory(`Level ${String(level)}`, present(chain.at(-1)).id));
    }
    const at = (level: number) => present(chain[level - 1]).id;
    expect(await refusal(addCategory("Level 11", at(10)))).toMatchObject({
      kind: "failed_precondition",
      reason: "CATEGORY_CYCLE",
    });
    const pair = await addCategory("Pair");
    await addCategory("Pair's child", pair.id);
    expect(await reasonOf(products.updateCategory({ id: pair.id, parentId: at(9) }))).toBe("CATEGORY_CYCLE");
    await products.updateCategory({ id: pair.id, parentId: at(8) });
    expect((await products.getCategory({ id: at(10) })).ancestors).toHaveLength(9);
  });

  test("moves at once never make a cycle", async () => {
    for (let round = 0; round < 10; round += 1) {
      const ring = await Promise.all(Array.from({ length: 6 }, (_, index) => addCategory(`Ring ${String(index)}`)));
      // Each below the next, the last below the first: one at least has to be refused.
      const moves = ring.map(({ id }, index) =>
        products.updateCategory({ id, parentId: present(ring[(index + 1) % ring.length]).id }),
      );
      expect((await successes(moves, "CATEGORY_CYCLE")).length).toBe(ring.length - 1);
      const { categories } = await products.listCategories({});
      const listed = new Set(categories.map(({ id }) => id));
      // What is in a cycle hangs from no top, and would not be listed.
      expect(ring.every(({ id }) => listed.has(id))).toBe(true);
    }
  });

  test("DeleteCategory deletes what is empty, once", async () => {
    const [parent, full] = [await addCategory("Parent"), await addCategory("Full")];
    const child = await addCategory("Only child", parent.id);
    const product = await add({ categoryId: full.id });
    for (const { id } of [parent, full]) {
      expect(await refusal(products.deleteCategory({ id }))).toMatchObject({
        kind: "failed_precondition",
        reason: "CATEGORY_IN_USE",
      });
    }
    await products.updateProduct({ id: product.id, categoryId: "" });
    expect(await reasonOf(products.deleteCategory({ id: full.id, expectedVersion: 9 }))).toBe("VERSION_MISMATCH");
    await products.deleteCategory({ id: full.id.toUpperCase(), expectedVersion: 1 });
    expect(await reasonOf(products.deleteCategory({ id: full.id }))).toBe("NOT_FOUND");
    await products.deleteCategory({ id: child.id });
    await products.deleteCategory({ id: parent.id });
    expect(await reasonOf(products.getCategory({ id: parent.id }))).toBe("NOT_FOUND");
  });

  test("a category that is deleted while products are put into it ends empty or not at all", async () => {
    for (let round = 0; round < 10; round += 1) {
      const { id } = await addCategory("Contested");
      const [adding, deleting] = await Promise.all([
        settled([add({ categoryId: id })]),
        settled([products.deleteCategory({ id })]),
      ]);
      const outcome = [...adding.reasons, ...deleting.reasons];
      expect([["CATEGORY_UNKNOWN"], ["CATEGORY_IN_USE"]]).toContainEqual(outcome);
      expect(adding.answers.length + deleting.answers.length).toBe(1);
    }
  });

  test("a repeated key answers as the first call did", async () => {
    const note = replayNote();
    const creation = { name: "Keyed", idempotencyKey: "category" };
    const created = await products.createCategory(creation);
    expect(await products.createCategory(creation, note.options)).toEqual(created);
    expect(await reasonOf(products.createCategory({ ...creation, position: 1 }))).toBe("IDEMPOTENCY_KEY_REUSED");
    const { id } = present(created.category);
    const update = { id, position: 5, idempotencyKey: "category" };
    const updated = await products.updateCategory(update);
    expect(await products.updateCategory(update, note.options)).toEqual(updated);
    const deletion = { id, idempotencyKey: "category" };
    await products.deleteCategory(deletion);
    note.replayed = undefined;
    await products.deleteCategory(deletion, note.options);
    expect(note.replayed).toBe("true");
  });
});

test("addSamples fills an empty catalogue once, also when two processes start, and no other", async () => {
  await using alone = await startTestRole("product", productRole);
  const client = clientOf(alone);
  const addSamples = async () => alone.running.addSamples?.();
  await Promise.all([addSamples(), addSamples()]);
  await addSamples();
  const found = (await client.queryProducts({ pageSize: 500 })).products;
  expect(found).toHaveLength(24);
  expect(new Set(found.map(({ taxCategory }) => taxCategory))).toEqual(new Set(["standard", "reduced"]));
  expect((await client.listCategories({})).categories.map(({ slug }) => slug)).toEqual([
    "kitchen-table",
    "clothing",
    "books",
    "pantry",
    "desk-travel",
  ]);
  // What the samples say is what the API would take.
  for (const { title, description, taxCategory, attributes, variants } of found) {
    const renamed = variants.map((sample) => ({ ...sample, sku: `again-${sample.sku}` }));
    await client.addProduct({ title, description, taxCategory, attributes, variants: renamed });
  }

  await using used = await startTestRole("product", productRole);
  await addCategory("Mine", "", clientOf(used));
  await used.running.addSamples?.();
  expect((await clientOf(used).queryProducts({})).products).toEqual([]);
});

test("every change of the catalogue has its event, and what changes nothing has none", async () => {
  const typesOf = async (id: string) =>
    (await eventsOf(role.database<never>(), ProductEventSchema, id)).map(({ type }) => type);
  const category = await addCategory("Told of");
  await products.updateCategory({ id: category.id, name: "Told of again" });
  await products.updateCategory({ id: category.id });
  await products.deleteCategory({ id: category.id });
  expect(await typesOf(category.id)).toEqual([
    "product.category_created",
    "product.category_updated",
    "product.category_deleted",
  ]);
  const { id } = await add({ idempotencyKey: newId() });
  await products.updateProduct({ id });
  await products.updateProduct({ id, title: "Another" });
  for (let time = 0; time < 2; time += 1) await products.archiveProduct({ id });
  const { product } = await products.unarchiveProduct({ id });
  await refusal(products.updateProduct({ id, expectedVersion: 1, title: "Late" }));
  expect(await typesOf(id)).toEqual(["product.added", "product.updated", "product.archived", "product.unarchived"]);
  const last = (await eventsOf(role.database<never>(), ProductEventSchema, id)).at(-1);
  expect(last?.event).toMatchObject({ value: { product } });
});
