import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { CallOptions, Client, Transport } from "@connectrpc/connect";
import { createClient, createContextValues } from "@connectrpc/connect";
import type { Kysely, KyselyPlugin } from "kysely";
import { pino } from "pino";
import type { AnyHandler, Handlers, ServedService, Subject } from "../../src/platform/call.ts";
import { roleOf } from "../../src/platform/clients/clients.ts";
import { localTransport } from "../../src/platform/clients/local.ts";
import { servedCall } from "../../src/platform/clients/serving.ts";
import type { Clock } from "../../src/platform/clock.ts";
import { openDatabase } from "../../src/platform/database.ts";
import type { AppError } from "../../src/platform/errors.ts";
import { PeerError } from "../../src/platform/errors.ts";
import { newId } from "../../src/platform/id.ts";
import type { Broadcast } from "../../src/platform/events/role-events.ts";
import { createOutbox } from "../../src/platform/events/outbox.ts";
import { openCall } from "../../src/platform/incoming.ts";
import { listen } from "../../src/platform/notifications.ts";
import { createPageTokens } from "../../src/platform/page.ts";
import { createPipeline } from "../../src/platform/pipeline.ts";
import type { RoleContext, RoleDefinition, RunningRole } from "../../src/platform/role.ts";
import { deriveKey } from "../../src/platform/secret.ts";
import { permissionsOf } from "../../src/roles/user/permission.ts";
import { createTestDatabase } from "./postgres.ts";

/** Hints that reach nobody. */
export const silent: Broadcast = {
  send: () => undefined,
  listen: () => ({ close: () => Promise.resolve() }),
};

const secret = "a secret of the tests, at least 32 characters";

export interface TestRoleOptions {
  /** Values of the role's own configuration keys. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** The roles that it calls, see {@link peer}. */
  readonly peers?: readonly ServedService[];
  readonly clock?: TestClock;
  /** Where the raw routes of other roles are; nowhere where nothing is said. */
  readonly routesUrl?: (role: string) => string;
  /** Whether the role passes on the calls of outsiders, as the registry says. */
  readonly edge?: boolean;
}

/** Who the tests are unless they say otherwise. */
export const adminSubject: Subject = {
  kind: "user",
  id: "0199d2f0-0000-7000-8000-0000000000ad",
  permissions: permissionsOf(["admin"]),
};

/** Who calls; an admin through the gateway where nothing is said. */
export interface TestCaller {
  /** The role that calls; with one and no subject it acts for itself. */
  readonly role?: string;
  readonly subject?: Subject;
}

export interface TestRole extends AsyncDisposable {
  /** A typed client. Its calls go through the role's pipeline; refusals are PeerErrors, see {@link refusal}. */
  client<S extends DescService>(service: S, caller?: TestCaller): Client<S>;
  database<Tables>(): Kysely<Tables>;
  readonly clock: TestClock;
  /** The kinds of Kysely's root nodes of all statements of the role so far, e.g. `SelectQueryNode`. */
  readonly statements: readonly string[];
  readonly running: RunningRole;
  /** A second instance of the role on the same database, as another process would be. */
  replica(setting?: Partial<Pick<RoleContext, "clock" | "tryout">>): Promise<Pick<TestRole, "client" | "running">>;
  /** Begins the stop of the process: `context.stopping` aborts. */
  stop(): void;
}

/** Runs one role on a database of its own, cloned for this call; dispose of it to end both. */
export async function startTestRole(
  name: string,
  definition: RoleDefinition,
  options: TestRoleOptions = {},
): Promise<TestRole> {
  const { peers = [], clock = createTestClock(), edge = false } = options;
  const log = pino({ level: "error" });
  const test = await createTestDatabase(name);
  const database = openDatabase<unknown>({ url: test.url, role: name, log });
  const statements: string[] = [];
  const db = database.db.withPlugin(noteStatements(statements));
  const stopping = new AbortController();
  const listeners: ReturnType<typeof listen>[] = [];

  const transportTo = (role: string): Transport => {
    const pipeline = createPipeline(
      role,
      peers.filter(({ service }) => roleOf(service) === role),
    );
    return localTransport({ caller: name, edge, pipeline: () => pipeline, log });
  };
  const context: RoleContext = {
    name,
    config: (options.config ?? {}) as RoleContext["config"],
    database: <Tables>() => db as Kysely<Tables>,
    listen(channel) {
      const listener = listen({ url: test.url, role: name, channel, log });
      listeners.push(listener);
      return listener;
    },
    peers: { client: (service) => createClient(service, transportTo(roleOf(service))), outermost: transportTo },
    outbox: (schema) => createOutbox({ schema, version: 1, wake: () => undefined }),
    broadcast: silent,
    wakeInbox: () => undefined,
    publicUrl: () => "http://shop.test",
    routesUrl: (role) => options.routesUrl?.(role) ?? `http://127.0.0.1:1/-/${role}`,
    fetchPeer: fetch,
    pages: createPageTokens(name, secret),
    key: (purpose) => deriveKey(secret, name, purpose),
    sharedKey: (purpose) => deriveKey(secret, "", purpose),
    clock,
    log,
    others: {},
    stopping: stopping.signal,
    tryout: true,
  };
  const clientsOf = (instance: RunningRole): TestRole["client"] => {
    const pipeline = createPipeline(name, instance.services, undefined, instance);
    return (service, { role, subject } = {}) => {
      const transport = localTransport({
        caller: role ?? "gateway",
        edge: role === undefined,
        pipeline: () => pipeline,
        log,
      });
      const acting = subject ?? (role === undefined ? adminSubject : undefined);
      return createClient(service, acting ? actingAs(transport, acting) : transport);
    };
  };
  const running = await definition.start(context);
  const replicas: RunningRole[] = [];

  return {
    client: clientsOf(running),
    async replica(setting = {}) {
      const replica = await definition.start({ ...context, ...setting });
      replicas.push(replica);
      return { client: clientsOf(replica), running: replica };
    },
    database: <Tables>() => db as Kysely<Tables>,
    clock,
    statements,
    running,
    stop: () => {
      stopping.abort();
    },
    async [Symbol.asyncDispose]() {
      stopping.abort();
      for (const instance of [running, ...replicas]) await instance.close?.();
      for (const listener of listeners) await listener.close();
      await database.close();
      await test.drop();
    },
  };
}

/** A peer that answers only these methods; the others are UNSUPPORTED_METHOD. */
export function peer<S extends DescService>(service: S, handlers: Partial<Handlers<S>>): ServedService {
  const byName: Readonly<Record<string, unknown>> = handlers;
  return { service, handler: (method) => byName[method.localName] as AnyHandler | undefined };
}

/** The AppError that a call is refused with. */
export async function refusal(call: Promise<unknown>): Promise<AppError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof PeerError) return error.error;
    throw error;
  }
  throw new Error("The call was not refused.");
}

/** What became of calls that ran at once: the answers, and the reasons of the refusals. */
export async function settled<T>(calls: readonly Promise<T>[]): Promise<{ answers: T[]; reasons: string[] }> {
  const answers: T[] = [];
  const reasons: string[] = [];
  for (const outcome of await Promise.allSettled(calls)) {
    if (outcome.status === "fulfilled") answers.push(outcome.value);
    else reasons.push((await refusal(Promise.reject(outcome.reason))).reason);
  }
  return { answers, reasons };
}

/** Notes whether a call was answered as a replay: `"true"` or null once it is. */
export function replayNote(): { readonly options: CallOptions; replayed: string | null | undefined } {
  const note: ReturnType<typeof replayNote> = {
    options: { onHeader: (header) => (note.replayed = header.get("idempotent-replayed")) },
    replayed: undefined,
  };
  return note;
}

/** The resource of an answer. */
export function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("The answer lacks its resource.");
  return value;
}

export interface TestClock extends Clock {
  /** Milliseconds. */
  advance(ms: number): void;
}

/** A clock that stands still until it is moved. */
export function createTestClock(start = new Date()): TestClock {
  let now = start.getTime();
  return {
    now: () => new Date(now),
    advance: (ms) => {
      now += ms;
    },
  };
}

/** The transport as another role uses it that serves a call of the subject. */
function actingAs(transport: Transport, subject: Subject): Transport {
  const serving = (method: DescMethod) => {
    const { call } = openCall({
      role: "gateway",
      method,
      requestId: newId(),
      identity: { subject },
      caller: undefined,
      outside: true,
      timeoutMs: undefined,
      parent: undefined,
      log: pino({ level: "silent" }),
      requestHeader: new Headers(),
      responseHeader: new Headers(),
    });
    return createContextValues().set(servedCall, call);
  };
  return {
    unary: (method, signal, timeoutMs, header, input) =>
      transport.unary(method, signal, timeoutMs, header, input, serving(method)),
    stream: (method, signal, timeoutMs, header, input) =>
      transport.stream(method, signal, timeoutMs, header, input, serving(method)),
  };
}

function noteStatements(statements: string[]): KyselyPlugin {
  return {
    transformQuery({ node }) {
      statements.push(node.kind);
      return node;
    },
    transformResult: ({ result }) => Promise.resolve(result),
  };
}
