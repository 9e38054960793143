import type { DescField, DescMessage, Message, MessageShape } from "@bufbuild/protobuf";
import { ScalarType, create } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";

/** A source of random numbers from a seed, so that a run can be repeated. */
export interface Random {
  /** From 0, below 1. */
  next(): number;
  below(n: number): number;
  pick<T>(from: readonly T[]): T;
}

/** mulberry32. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  return {
    next,
    below: (n) => Math.floor(next() * n),
    pick: (from) => from[Math.floor(next() * from.length)] as (typeof from)[number],
  };
}

/** Texts that matter somewhere: ids and SKUs that exist, by field name. */
export type Known = Readonly<Record<string, readonly string[]>>;

const oddTexts = [
  "",
  " ",
  "x",
  "\u0000",
  "a\u0007b",
  "ß→漢字🛒",
  "'; drop table users; --",
  "%_\\",
  "../../etc/passwd",
  "00000000-0000-0000-0000-000000000000",
  "019c0000-0000-7000-8000-00000000000G",
  "x".repeat(300),
  "x".repeat(5_000),
  "a@example.com",
  "a@@example",
  "EUR",
  "XYZ",
  "https://example.com/x.png",
  "null",
  "-1",
];
const oddInts = [0, 1, -1, 2, 100, 101, 501, 1_000_001, 2_147_483_647, -2_147_483_648];
const oddLongs = [0n, 1n, -1n, 1290n, 2n ** 31n, 2n ** 63n - 1n, -(2n ** 63n)];

/** A message of the type with odd values, some fields left out, some nested deeper. */
export function randomMessage<D extends DescMessage>(
  schema: D,
  random: Random,
  known: Known,
  depth = 0,
): MessageShape<D> {
  const message = create(schema);
  const target = reflect(schema, message);
  for (const field of schema.fields) {
    if (random.next() < 0.25 || (depth > 3 && field.message)) continue;
    const value = valueOf(field, random, known, depth);
    if (value !== undefined) setValue(target, field, value);
  }
  return message;
}

type Reflected = ReturnType<typeof reflect>;

function setValue(target: Reflected, field: DescField, value: unknown): void {
  if (field.fieldKind === "list") {
    const list = target.get(field);
    for (const item of value as readonly unknown[]) list.add(item as never);
  } else if (field.fieldKind === "map") {
    const map = target.get(field);
    for (const [key, item] of value as readonly (readonly [string, unknown])[]) map.set(key, item as never);
  } else {
    target.set(field, value as never);
  }
}

function valueOf(field: DescField, random: Random, known: Known, depth: number): unknown {
  switch (field.fieldKind) {
    case "scalar":
      return scalarOf(field.scalar, field.name, random, known);
    case "enum":
      return random.pick([...field.enum.values.map(({ number }) => number), 99, -1]);
    case "message":
      return reflected(field.message, random, known, depth);
    case "list": {
      const length = random.pick([0, 1, 1, 2, 3, 101]);
      return Array.from({ length }, () => {
        if (field.listKind === "scalar") return scalarOf(field.scalar, field.name, random, known);
        if (field.listKind === "enum") return random.pick([0, 1, 2, 99]);
        return reflected(field.message, random, known, depth);
      });
    }
    case "map":
      return Array.from({ length: random.below(4) }, () => [
        String(scalarOf(ScalarType.STRING, "", random, known)),
        field.mapKind === "scalar" ? scalarOf(field.scalar, "", random, known) : undefined,
      ]);
  }
}

function reflected(schema: DescMessage, random: Random, known: Known, depth: number): Reflected {
  const message: Message = randomMessage(schema, random, known, depth + 1);
  return reflect(schema, message as MessageShape<typeof schema>);
}

function scalarOf(type: ScalarType, name: string, random: Random, known: Known): unknown {
  switch (type) {
    case ScalarType.STRING: {
      const fitting = known[name.replace(/s$/, "")] ?? [];
      return fitting.length > 0 && random.next() < 0.7 ? random.pick(fitting) : random.pick(oddTexts);
    }
    case ScalarType.BOOL:
      return random.next() < 0.5;
    case ScalarType.INT64:
      return random.next() < 0.5 ? BigInt(random.below(2_000)) : random.pick(oddLongs);
    case ScalarType.UINT32:
      return random.pick([0, 1, 2, 4_294_967_295]);
    default:
      return random.next() < 0.5 ? 1 + random.below(3) : random.pick(oddInts);
  }
}
