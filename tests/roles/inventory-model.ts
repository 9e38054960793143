/** What the stock role must do, said again without a database: units are moved one by one. */

interface ModelLevel {
  onHand: number;
  reserved: number;
  limit: number;
}

interface ModelLine {
  readonly sku: string;
  readonly location: string;
  quantity: number;
  returned: number;
}

interface ModelOrder {
  state: "HELD" | "COMMITTED" | "RELEASED" | "EXPIRED";
  lines: ModelLine[];
}

type Wanted = Readonly<Record<string, number>>;

/** What a call answers: its lines as text, or the reason of its refusal. */
export type Said = string;

export class StockModel {
  readonly #locations: readonly string[];
  readonly #tracked = new Map<string, boolean>();
  readonly #levels = new Map<string, Map<string, ModelLevel>>();
  readonly #orders = new Map<string, ModelOrder>();
  readonly #returns = new Map<string, string>();

  /** @param locations in the order in which orders take from them */
  constructor(locations: readonly string[]) {
    this.#locations = locations;
  }

  adjust(sku: string, location: string, delta: number): Said {
    const level = this.#at(sku, location);
    if (level.onHand + delta + level.limit < level.reserved) return "STOCK_RESERVED";
    this.#keep(sku, location, level).onHand += delta;
    return "ok";
  }

  transfer(sku: string, from: string, to: string, quantity: number): Said {
    const source = this.#at(sku, from);
    if (source.onHand - source.reserved < quantity) return "STOCK_RESERVED";
    this.#keep(sku, from, source).onHand -= quantity;
    this.#keep(sku, to, this.#at(sku, to)).onHand += quantity;
    return "ok";
  }

  limit(sku: string, location: string, limit: number): Said {
    const level = this.#at(sku, location);
    if (level.onHand + limit < level.reserved) return "STOCK_RESERVED";
    this.#keep(sku, location, level).limit = limit;
    return "ok";
  }

  track(sku: string, tracked: boolean): Said {
    this.#tracked.set(sku, tracked);
    return "ok";
  }

  reserve(orderId: string, wanted: Wanted): Said {
    const order = this.#orders.get(orderId);
    if (order?.state === "RELEASED") return "RESERVATION_RELEASED";
    if (order) return isSame(wantedBy(order), wanted) ? said(order) : "RESERVATION_MISMATCH";
    const lines = this.#take(wanted, "reserved", 1);
    if (!lines) return "OUT_OF_STOCK";
    const held: ModelOrder = { state: "HELD", lines };
    this.#orders.set(orderId, held);
    return said(held);
  }

  commit(orderId: string): Said {
    const order = this.#orders.get(orderId);
    if (!order) return "NOT_FOUND";
    if (order.state === "RELEASED") return "RESERVATION_RELEASED";
    if (order.state === "EXPIRED") {
      const lines = this.#take(wantedBy(order), "onHand", -1);
      if (!lines) return "OUT_OF_STOCK";
      order.lines = lines;
    }
    if (order.state === "HELD") {
      for (const level of this.#unitsOf(order, ({ quantity }) => quantity)) {
        level.onHand -= 1;
        level.reserved -= 1;
      }
    }
    order.state = "COMMITTED";
    return said(order);
  }

  release(orderId: string): Said {
    const order = this.#orders.get(orderId) ?? { state: "RELEASED", lines: [] };
    this.#orders.set(orderId, order);
    if (order.state === "HELD") {
      for (const level of this.#unitsOf(order, ({ quantity }) => quantity)) level.reserved -= 1;
    }
    if (order.state === "COMMITTED") {
      for (const level of this.#unitsOf(order, (line) => line.quantity - line.returned)) level.onHand += 1;
      for (const line of order.lines) line.returned = line.quantity;
    }
    order.state = "RELEASED";
    return said(order);
  }

  expire(orderId: string): void {
    const order = this.#orders.get(orderId);
    if (order?.state !== "HELD") return;
    for (const level of this.#unitsOf(order, ({ quantity }) => quantity)) level.reserved -= 1;
    order.state = "EXPIRED";
  }

  giveBack(orderId: string, returnId: string, sku: string, quantity: number): Said {
    const order = this.#orders.get(orderId);
    if (!order) return "NOT_FOUND";
    const what = `${orderId} ${sku} ${String(quantity)}`;
    const before = this.#returns.get(returnId);
    if (before !== undefined) return before === what ? said(order) : "IDEMPOTENCY_KEY_REUSED";
    const lines = order.state === "COMMITTED" ? order.lines.filter((line) => line.sku === sku) : [];
    const left = lines.reduce((sum, line) => sum + line.quantity - line.returned, 0);
    if (left < quantity) return "RETURN_TOO_LARGE";
    this.#returns.set(returnId, what);
    for (let unit = 0; unit < quantity; unit += 1) {
      const line = lines.toSorted(byPlace).find((of) => of.returned < of.quantity);
      if (!line) throw new Error("the model is wrong");
      line.returned += 1;
      if (line.location !== "") this.#at(sku, line.location).onHand += 1;
    }
    return said(order);
  }

  isHeld(orderId: string): boolean {
    return this.#orders.get(orderId)?.state === "HELD";
  }

  /** Every level that was ever touched, as text. */
  levels(): string[] {
    const all = [...this.#levels].flatMap(([sku, levels]) =>
      [...levels].map(
        ([location, { onHand, reserved, limit }]) =>
          `${sku} ${location} ${String(onHand)} ${String(reserved)} ${String(limit)}`,
      ),
    );
    return all.sort();
  }

  /** One unit at a time, from levels that are put aside until all of them are found. */
  #take(wanted: Wanted, field: "onHand" | "reserved", step: 1 | -1): ModelLine[] | undefined {
    const lines: ModelLine[] = [];
    for (const [sku, quantity] of Object.entries(wanted)) {
      if (this.#tracked.get(sku) === false) {
        lines.push({ sku, location: "", quantity, returned: 0 });
        continue;
      }
      const aside = this.#locations.map((location) => ({ location, ...this.#at(sku, location), taken: 0 }));
      const whole = aside.find((level) => level.onHand - level.reserved >= quantity);
      for (let unit = 0; unit < quantity; unit += 1) {
        const one =
          whole ??
          aside.find((level) => level.onHand - level.reserved - level.taken > 0) ??
          aside.find((level) => level.onHand + level.limit - level.reserved - level.taken > 0);
        if (!one) return undefined;
        one.taken += 1;
      }
      const taken = aside.filter((level) => level.taken > 0);
      lines.push(...taken.map((level) => ({ sku, location: level.location, quantity: level.taken, returned: 0 })));
    }
    for (const { sku, location, quantity } of lines) {
      if (location !== "") this.#at(sku, location)[field] += step * quantity;
    }
    return lines;
  }

  /** The level of each unit of an order. */
  *#unitsOf(order: ModelOrder, count: (line: ModelLine) => number): Iterable<ModelLevel> {
    for (const line of order.lines.filter(({ location }) => location !== "")) {
      for (let unit = count(line); unit > 0; unit -= 1) yield this.#at(line.sku, line.location);
    }
  }

  #at(sku: string, location: string): ModelLevel {
    return this.#levels.get(sku)?.get(location) ?? { onHand: 0, reserved: 0, limit: 0 };
  }

  #keep(sku: string, location: string, level: ModelLevel): ModelLevel {
    const levels = this.#levels.get(sku) ?? new Map<string, ModelLevel>();
    this.#levels.set(sku, levels.set(location, level));
    return level;
  }
}

function wantedBy(order: ModelOrder): Wanted {
  const wanted: Record<string, number> = {};
  for (const { sku, quantity } of order.lines) wanted[sku] = (wanted[sku] ?? 0) + quantity;
  return wanted;
}

function isSame(one: Wanted, other: Wanted): boolean {
  const skus = Object.keys({ ...one, ...other });
  return skus.every((sku) => one[sku] === other[sku]);
}

const byPlace = (a: ModelLine, b: ModelLine) => (placeOf(a) < placeOf(b) ? -1 : 1);
const placeOf = ({ sku, location }: ModelLine) => `${sku} ${location}`;

function said({ state, lines }: ModelOrder): Said {
  const text = lines
    .toSorted(byPlace)
    .map((line) => `${placeOf(line)} ${String(line.quantity)} ${String(line.returned)}`);
  return [state, ...text].join("; ");
}
