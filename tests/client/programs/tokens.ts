/** What becomes of calls whose access token is over: compiled against the package, run by Node and in a browser. */
import type { Tokens } from "@connect-commerce/client";
import { createShop, reasonOf } from "@connect-commerce/client";

export interface Expired {
  readonly baseUrl: string;
  readonly tokens: Tokens;
  /** How many calls at once. */
  readonly calls: number;
  /** Whether the first answer to a refresh does not arrive. */
  readonly isAnswerLost?: boolean;
  /** Whether to stay until other tokens are kept. */
  readonly waits?: boolean;
  /** An order to watch in place of the calls. */
  readonly watch?: string;
}

/** Makes calls with tokens that were kept somewhere; how they went, how often they were exchanged, what is kept now. */
export async function callWith({
  baseUrl,
  tokens,
  calls,
  isAnswerLost = false,
  waits = false,
  watch,
}: Expired): Promise<{
  outcomes: string[];
  refreshes: number;
  kept: Tokens | undefined;
  loggedOut: string[];
}> {
  let kept: Tokens | undefined = tokens;
  let refreshes = 0;
  const loggedOut: string[] = [];
  let saved = () => {};
  const whenSaved = new Promise<void>((resolve) => (saved = resolve));
  const shop = createShop({
    baseUrl,
    tokens: {
      load: () => Promise.resolve(kept),
      save(next) {
        kept = next;
        saved();
      },
    },
    onLoggedOut: (why) => loggedOut.push(why),
    async fetch(input, init) {
      const answer = await globalThis.fetch(input, init);
      if (!new Request(input).url.endsWith("/Refresh")) return answer;
      refreshes += 1;
      if (isAnswerLost && refreshes === 1) throw new TypeError("the answer was lost");
      return answer;
    },
  });
  const call = async () => {
    try {
      if (watch === undefined) return `${String((await shop.orders.listOrders({})).orders.length)} orders`;
      for await (const { event } of shop.orders.watchOrder({ id: watch })) return `position ${String(event?.position)}`;
      return "nothing";
    } catch (error) {
      return reasonOf(error) ?? String(error);
    }
  };
  const outcomes = await Promise.all(Array.from({ length: calls }, call));
  if (waits) await whenSaved;
  return { outcomes: [...new Set(outcomes)], refreshes, kept, loggedOut };
}
