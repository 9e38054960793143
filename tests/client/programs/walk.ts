/** What a program does with the package: compiled against its types, run by Node and in a browser. */
import { createShop, reasonOf, violationsOf } from "@connect-commerce/client";
import type { ShopOptions } from "@connect-commerce/client";
import { OrderState } from "@connect-commerce/client/order";

export interface Walk extends Pick<ShopOptions, "baseUrl" | "format" | "protocol"> {
  readonly account: { readonly email: string; readonly password: string };
  readonly sku: string;
}

async function reasonOfCall(call: Promise<unknown>): Promise<string | undefined> {
  return call.then(
    () => "nothing",
    (error: unknown) => reasonOf(error),
  );
}

/** From looking around to the confirmed order, and out again. */
export async function walk({ account, sku, ...options }: Walk): Promise<Record<string, unknown>> {
  const loggedOut: string[] = [];
  const shop = createShop({ ...options, onLoggedOut: (why) => loggedOut.push(why) });
  const stranger = await reasonOfCall(shop.orders.listOrders({}));
  const mistaken = await reasonOfCall(shop.login({ ...account, password: "another password" }));
  const { product } = await shop.products.getProduct({ sku });
  const user = await shop.login(account);

  const { order } = await shop.orders.createOrder({ items: [{ sku, quantity: 2 }] });
  const states: string[] = [];
  for await (const { event } of shop.orders.watchOrder({ id: order?.id ?? "" })) {
    states.push(`${String(event?.position)} ${String(event?.step)}`);
    if (event?.state === OrderState.CONFIRMED) break;
  }
  const { order: confirmed } = await shop.orders.getOrder({ id: order?.id ?? "" });

  const unknown = await reasonOfCall(shop.orders.createOrder({ items: [{ sku: "NO-SUCH", quantity: 1 }] }));
  const faulty = await shop.orders.createOrder({ items: [{ sku, quantity: 0 }] }).catch((error: unknown) => error);
  const { results } = await shop.orders.batchCreateOrders({
    orders: [{ items: [{ sku: "NO-SUCH", quantity: 1 }] }, { items: [{ sku, quantity: 1 }] }],
  });
  await shop.logout();
  return {
    stranger,
    mistaken,
    title: product?.title,
    email: user?.email,
    steps: states.length,
    confirmed: confirmed?.state === OrderState.CONFIRMED,
    amount: String(confirmed?.itemsAmount?.amountMinor),
    unknown,
    faulty: [reasonOf(faulty), ...violationsOf(faulty).map(({ field }) => field)],
    batch: [...results]
      .sort((one, other) => one.sequence - other.sequence)
      .map(({ result }) => (result.case === "error" ? reasonOf(result.value) : result.case)),
    after: await reasonOfCall(shop.orders.listOrders({})),
    loggedOut,
  };
}
