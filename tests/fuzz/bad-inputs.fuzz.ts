import type { DescMethod } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { httpBindingsOf } from "../../src/platform/rest/http-binding.ts";
import type { Registry } from "../../src/platform/role.ts";
import { accessRule } from "../../src/platform/rules/access.ts";
import { registry as allRoles } from "../../src/roles/registry.ts";
import { tokenOf } from "../support/accounts.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import type { Answer, Sender, Wire } from "../support/wire.ts";
import { openSender, wires } from "../support/wire.ts";
import { writesOf } from "../support/writes.ts";
import { badInput } from "./bad-inputs.ts";
import { seeded } from "./generate.ts";

/** Inputs in all. */
const inputs = Number(process.env["FUZZ_BAD_INPUTS"] ?? 100_000);
/** FUZZ_SEED repeats a run. */
const seed = Number(process.env["FUZZ_SEED"] ?? Date.now() % 1_000_000);
const CONCURRENCY = 16;

const registry: Registry = allRoles;
/** All that may be called from outside. A bad message of a stream upwards is answered in the stream, see the journeys. */
const methods = Object.values(registry).flatMap(({ services }) =>
  services.flatMap((service) =>
    service.methods.filter((method) => {
      return accessRule(method).level !== "internal" && method.methodKind !== "bidi_streaming";
    }),
  ),
);

test.each(topologies)("no bad input is let in by the shop in %s, and none leaves a trace", async (topology) => {
  await using shop = await startInstallation(topology);
  // Logs in, which writes.
  await tokenOf(shop.url);
  const before = await writesOf(shop);
  const senders = new Map(wires.map((wire) => [wire, openSender(wire, shop.url)]));
  const count = Math.ceil(inputs / topologies.length);
  const wrong: string[] = [];
  const seen = { wires: {} as Tally, ways: {} as Tally, codes: {} as Tally, reasons: {} as Tally };
  const called = new Set<DescMethod>();

  const sendOne = async (n: number) => {
    const random = seeded(seed * 1_000_003 + n);
    const wire = random.pick(wires);
    const method = random.pick(wire === "REST" ? methods.filter((each) => httpBindingsOf(each).length > 0) : methods);
    const { how, payload } = badInput(method, wire, random);
    const answer = await (senders.get(wire) as Sender).send(method, payload);
    called.add(method);
    note(seen.wires, wire);
    note(seen.ways, how);
    note(seen.codes, answer.code);
    note(seen.reasons, answer.reasons.join("+"));
    if (!isRefusal(answer)) wrong.push(describe({ n, wire, method, how, answer, payload: payload.json }));
  };
  let next = 0;
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: CONCURRENCY }, async () => {
      while (next < count) await sendOne(next++);
    }),
  );
  const seconds = Math.round((performance.now() - startedAt) / 100) / 10;
  for (const sender of senders.values()) sender.close();

  console.info(`bad inputs: ${topology}, seed ${String(seed)}, ${String(count)} in ${String(seconds)} s`);
  console.info(JSON.stringify({ ...seen, methods: called.size }));
  expect(wrong.slice(0, 20), `FUZZ_SEED=${String(seed)}`).toEqual([]);
  const failures = [...new Set(Object.values(shop.processes))].flatMap(({ log }) =>
    log.filter(({ level, msg }) => level === "error" && msg !== "database connection lost"),
  );
  expect(failures).toEqual([]);
  expect(await writesOf(shop), `FUZZ_SEED=${String(seed)}`).toEqual(before);
});

type Tally = Record<string, number>;

function note(tally: Tally, name: string): void {
  tally[name] = (tally[name] ?? 0) + 1;
}

/** A definite refusal with one reason: it is the caller's fault, and says so. */
function isRefusal({ status, code, reasons }: Answer): boolean {
  return code !== "ok" && reasons.length === 1 && (status < 500 || status === 501) && !isOurs(code);
}

function isOurs(code: string): boolean {
  return ["internal", "unknown", "unavailable", "data_loss", "deadline_exceeded", ""].includes(code);
}

interface Wrong {
  readonly n: number;
  readonly wire: Wire;
  readonly method: DescMethod;
  readonly how: string;
  readonly answer: Answer;
  readonly payload: string | Uint8Array;
}

function describe({ n, wire, method, how, answer, payload }: Wrong): string {
  const sent = String(payload).slice(0, 300);
  return `#${String(n)} ${wire} ${method.name}, ${how}: ${JSON.stringify(answer)} to ${sent}`;
}
