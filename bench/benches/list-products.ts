import { databaseName } from "../../src/platform/database-name.ts";
import type { Bench } from "../support/bench.ts";
import { addProducts } from "../support/catalogue.ts";
import type { Plan, Round } from "../support/figures.ts";
import { load } from "../support/measure.ts";
import { startShop } from "../support/shop.ts";

const once = { kind: "once", callers: 1 } as const;

const columns = `p.id, p.title, p.description, p.state, p.category_id, p.tax_category, p.attributes, p.image_urls,
  p.currency_code, p.version, p.created_at, p.updated_at`;
const rows = `select ${columns} from products p order by p.id`;
const rowsWithVariants = `select ${columns}, (
    select json_agg(json_build_object('sku', v.sku, 'options', v.options, 'price', v.price_minor) order by v.position)
    from variants v where v.product_id = p.id and v.retired_at is null
  ) from products p order by p.id`;

export const listedProducts: Bench = {
  about: "ListProducts of all products, binary Connect over HTTP/2, against an ordered COPY of them",
  async open({ topology, window, products }, stack) {
    const shop = stack.use(await startShop({ topology }));
    await addProducts(shop, products);
    const [copy, copyWithVariants] = ["COPY of the products", "COPY of the products with their variants"];
    const url = shop.urlOf(databaseName("product"));
    const whole = (round: Round): Round => ({ ...round, rows: products });
    const copied = (name: string, query: string): Plan => ({
      name,
      unit: "/s",
      run: async () => whole(await load(shop, { job: "copy", options: { url, query } }, once, window)),
    });
    const spec = { job: "list-products", options: { url: shop.url } } as const;
    return [
      {
        name: `ListProducts of ${products.toLocaleString("en")}`,
        unit: "/s",
        against: [copy, copyWithVariants],
        run: async () => whole(await load(shop, spec, once, window)),
      },
      copied(copy, rows),
      copied(copyWithVariants, rowsWithVariants),
    ];
  },
};
