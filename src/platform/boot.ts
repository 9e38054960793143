import type { Kysely } from "kysely";
import { createAdmit } from "./arrivals.ts";
import { createAssertions } from "./assertion.ts";
import type { AssertionKeys } from "./assertion-keys.ts";
import { derivedKeys, keysIn } from "./assertion-keys.ts";
import { byAssertion, byToken } from "./authenticate.ts";
import { watchCertificates } from "./certificates.ts";
import { isLoopbackAddress } from "./client-address.ts";
import { createConnectionPool, createPeers } from "./clients/clients.ts";
import { systemClock } from "./clock.ts";
import type { Config } from "./config.ts";
import { connectRoutes, unaryCalls } from "./connect-routes.ts";
import { ensureDatabase } from "./database.ts";
import type { EmbeddedPostgres } from "./embedded-postgres.ts";
import type { Bus } from "./events/bus.ts";
import { openBus } from "./events/bus.ts";
import { isMigratedBus, migrateBus } from "./events/migrate-bus.ts";
import type { RoleEvents } from "./events/role-events.ts";
import { broadcastOver, createRoleEvents, groupsOf } from "./events/role-events.ts";
import type { Logger } from "./logger.ts";
import { databaseName, migrateDatabase } from "./migrate.ts";
import { createPageTokens } from "./page.ts";
import type { Pipeline } from "./pipeline.ts";
import { createPipeline } from "./pipeline.ts";
import { createPeerFetch } from "./peer-fetch.ts";
import { mountForwardedRoutes, mountRawRoutes } from "./raw-routes.ts";
import type { RoleDatabase } from "./role-database.ts";
import { openRoleDatabase } from "./role-database.ts";
import { docsRoutes } from "./rest/docs-page.ts";
import { restRoutes } from "./rest/rest-routes.ts";
import type { Registry, RoleDefinition, RunningRole } from "./role.ts";
import { accessRule } from "./rules/access.ts";
import { deriveKey, installationSecret } from "./secret.ts";
import type { Readiness, Server } from "./server.ts";
import { createServer } from "./server.ts";
import { within } from "./within.ts";

/** Milliseconds that one step of stopping may take: a database that is silent must not hold the process. */
const STEP_MS = 3_000;
/** Milliseconds that our own Postgres may take: it asks, and then insists. */
const POSTGRES_MS = 40_000;

/** A role has few connections, one of each caller and use: what one client does must not hold up the calls of others. */
const innerLimits = {
  maxConcurrentStreams: 10_000,
  streamResets: { burst: 100_000, perSecond: 10_000 },
  takesTurns: false,
  requestMs: 60_000,
};

export interface BootOptions {
  readonly registry: Registry;
  readonly config: Config;
  /** The code of the roles that run. */
  readonly definitions: Readonly<Record<string, RoleDefinition>>;
  readonly log: Logger;
  /** Told of steps that take a while, in words for a person. */
  readonly onProgress?: (message: string) => void;
  /** Breaks the start off between two steps. */
  readonly signal?: AbortSignal;
}

/** A running installation, or a part of one. */
export interface System {
  /** The ports that are open, by role. */
  readonly ports: Readonly<Record<string, number>>;
  /** The Postgres of our own, where one runs. */
  readonly embedded: EmbeddedPostgres | undefined;
  /** Whether the shop is tried out, see {@link RoleContext}: it then has sample accounts. */
  readonly tryout: boolean;
  /**
   * Stops in order: not ready and no new connections, calls in flight finish within the grace time, then roles,
   * connections to peers, databases, Postgres. May be called twice.
   */
  stop(): Promise<void>;
}

interface Started {
  readonly role: string;
  readonly running: RunningRole;
  readonly pipeline: Pipeline;
  readonly database: RoleDatabase | undefined;
  readonly events: RoleEvents | undefined;
}

/** The database of the bus where it is a Postgres beside those of the roles. */
const EVENTS = "events";

/**
 * Starts the configured roles.
 * @throws what keeps it from starting: a port that is taken, a data folder in use, a database that cannot be reached.
 * What had begun is stopped by then. The reason of the signal.
 */
export async function boot(options: BootOptions): Promise<System> {
  const { registry, config, definitions, log, onProgress, signal } = options;
  const undo: { readonly step: () => Promise<unknown> | void; readonly withinMs: number }[] = [];
  const onStop = (step: () => Promise<unknown> | void, withinMs = STEP_MS) => {
    undo.push({ step, withinMs });
  };
  const ports: Record<string, number> = {};
  let stopped: Promise<void> | undefined;
  const stopping = new AbortController();
  // With a proxy in front others reach it, wherever it listens.
  const isReached = config.listenHost !== "localhost" && !isLoopbackAddress(config.listenHost);
  const scheme = config.tls.port ? "https" : "http";
  const tryout = config.databases === undefined && !isReached && config.trustedProxies.length === 0;
  const stop = (): Promise<void> =>
    (stopped ??= (async () => {
      stopping.abort();
      for (const { step, withinMs } of undo.reverse()) {
        const late = () => new Error(`not done after ${String(withinMs)} ms`);
        await within(withinMs, (async () => step())(), late).catch((error: unknown) => {
          log.error({ err: error }, "a step of stopping failed");
        });
      }
    })());

  // Nothing has begun yet that would have to be stopped.
  const certificates = watchCertificates(config.tls, log);
  const fetchPeer = createPeerFetch(certificates, isOwnAddress);
  onStop(() => {
    certificates.close();
  });
  let embedded: Awaited<ReturnType<typeof startEmbedded>> | undefined;
  try {
    embedded = config.databases ? undefined : await startEmbedded();
    const databases = config.databases ?? embedded?.urls ?? {};
    const busUrl = config.bus ?? embedded?.postgres.urlOf(databaseName(EVENTS)) ?? "";
    if (config.all) await migrateAll(databases, busUrl);
    const bus = await openBus({ url: busUrl, name: config.all ? "all" : config.roles.join(","), log });
    onStop(() => bus.close());
    const secret = config.secret ?? (await installationSecret(config.dataDir));
    const keys =
      config.keysDir === undefined ? derivedKeys(secret) : keysIn(config.keysDir, config.roles, Object.keys(registry));
    const started = await startRoles(databases, secret, keys, bus);
    if (embedded) await addSamples(started);
    signal?.throwIfAborted();
    // Stopped after the ports: what the last calls emit still goes out.
    for (const { events } of started.values()) onStop(() => events?.close());
    await openPorts(started, keys);
    // After the ports: what carries events takes a while to load, and the outbox can be written meanwhile.
    for (const { running, events } of started.values()) events?.start(running.consumers ?? []);
    return { ports, embedded: embedded?.postgres, tryout, stop };
  } catch (error) {
    const why = embedded ? await embedded.postgres.explain(error) : error;
    await stop();
    throw why;
  }

  async function addSamples(started: ReadonlyMap<string, Started>): Promise<void> {
    for (const { running } of started.values()) {
      signal?.throwIfAborted();
      await running.addSamples?.();
    }
  }

  async function startEmbedded() {
    const { startEmbeddedPostgres } = await import("./embedded-postgres.ts");
    const owners = config.roles.filter((role) => registry[role]?.database);
    const postgres = await startEmbeddedPostgres({
      dataDir: config.dataDir,
      databases: [...owners, EVENTS].map(databaseName),
      log,
      ...(onProgress && { onProgress }),
      ...(signal && { signal }),
    });
    onStop(() => postgres.stop(), POSTGRES_MS);
    return { postgres, urls: Object.fromEntries(owners.map((role) => [role, postgres.urlOf(databaseName(role))])) };
  }

  async function migrateAll(databases: Readonly<Record<string, string>>, busUrl: string): Promise<void> {
    const given = [...Object.values(databases), ...(isMigratedBus(busUrl) ? [busUrl] : [])];
    // One by one: Postgres copies a template for each, which nobody else may use meanwhile.
    for (const url of config.databases ? given : []) {
      signal?.throwIfAborted();
      await ensureDatabase(url);
    }
    const roles = Object.entries(databases).map(async ([role, url]) => {
      const applied = await migrateDatabase({ url, role, log });
      if (applied.length > 0) onProgress?.(`${role}: ${String(applied.length)} migration(s) applied`);
    });
    // All are waited for: what one of them fails of must not stop the Postgres that another one still uses.
    const outcomes = await Promise.allSettled([...roles, migrateEvents(busUrl)]);
    signal?.throwIfAborted();
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed) throw failed.reason;
  }

  async function migrateEvents(busUrl: string): Promise<void> {
    const applied = await migrateBus(busUrl, log);
    if (applied.length > 0) onProgress?.(`${EVENTS}: the tables of the bus are made`);
  }

  async function startRoles(
    databases: Readonly<Record<string, string>>,
    secret: string,
    keys: AssertionKeys,
    bus: Bus,
  ): Promise<ReadonlyMap<string, Started>> {
    const groups = groupsOf(registry);
    const broadcast = broadcastOver(bus);
    const started = new Map<string, Started>();
    const remote = createConnectionPool((role) => {
      const url = config.urls[role];
      if (!url) throw new Error(`there is no role ${role}`);
      return url;
    }, certificates);
    onStop(() => {
      remote.close();
    });
    for (const name of config.roles) {
      const definition = definitions[name];
      if (!definition) throw new Error(`the code of ${name} was not loaded`);
      const database = openDatabaseOf(name, databases[name]);
      const declaration = registry[name]?.events;
      const events =
        declaration && database && createRoleEvents({ role: name, declaration, database, groups, bus, log });
      const pages = createPageTokens(name, secret);
      const peers = createPeers({
        caller: name,
        edge: registry[name]?.edge ?? false,
        local: (role) => (config.roles.includes(role) ? () => pipelineOf(started, role) : undefined),
        remote: (role) => remote.to(role),
        assertions: createAssertions(name, { keys, roles: registry }),
        log,
      });
      const running = await definition.start({
        name,
        config: config.ofRole[name] as never,
        database: <Tables>() => owned(database, name).db as Kysely<Tables>,
        listen: (channel) => owned(database, name).listen(channel),
        outbox: (schema) => declared(events, name).outbox(schema),
        broadcast,
        wakeInbox: () => events?.wakeInbox(),
        publicUrl: () => config.publicUrl ?? publicOrigin(),
        routesUrl: (role) => `${routesOrigin(role)}/-/${role}`,
        fetchPeer,
        peers,
        pages,
        key: (purpose) => deriveKey(secret, name, purpose),
        sharedKey: (purpose) => deriveKey(secret, "", purpose),
        clock: systemClock,
        log: log.child({ role: name }),
        others: Object.fromEntries(Object.entries(registry).filter(([role]) => role !== name)),
        stopping: stopping.signal,
        tryout,
      });
      onStop(() => running.close?.());
      if (!config.all) void database?.check().then((check) => warnOf(name, check));
      started.set(name, {
        role: name,
        running,
        database,
        events,
        pipeline: createPipeline(name, running.services, stopping.signal, running),
      });
    }
    return started;
  }

  /** A listed role starts without its database, and serves when that is there; its operator reads why it does not. */
  function warnOf(role: string, check: string): void {
    if (check !== "ok" && !stopping.signal.aborted) log.warn({ role, check }, "not ready");
  }

  function openDatabaseOf(role: string, url: string | undefined): RoleDatabase | undefined {
    if (url === undefined) return undefined;
    const { size: poolSize, statementTimeoutMs } = config.pool;
    const database = openRoleDatabase({ url, role, poolSize, statementTimeoutMs, log });
    onStop(() => database.close());
    return database;
  }

  function edgeRole(): string {
    const [edge = ""] = Object.entries(registry).find(([, entry]) => entry.edge) ?? [];
    return edge;
  }

  /** Of the edge on this machine, with the scheme and the port of here, or of where it is found. */
  function publicOrigin(): string {
    const edge = edgeRole();
    const url = config.urls[edge];
    if (ports[edge] === undefined && url) return `${url.protocol}//localhost${url.port && `:${url.port}`}`;
    return `${scheme}://localhost:${String(ports[edge] ?? "")}`;
  }

  /** Of the ports here. */
  function ownHost(): string {
    const host = { "0.0.0.0": "127.0.0.1", "::": "::1" }[config.listenHost] ?? config.listenHost;
    return host.includes(":") ? `[${host}]` : host;
  }

  function isOwnAddress({ hostname, port }: URL): boolean {
    return hostname === ownHost() && Object.values(ports).includes(Number(port));
  }

  /** A role's own port where one is open, here or elsewhere; the edge's where it runs behind that. */
  function routesOrigin(role: string): string {
    const edge = edgeRole();
    const port = ports[role] ?? (config.roles.includes(role) ? ports[edge] : undefined);
    if (port === undefined) return String(config.urls[role]?.origin);
    return `${scheme}://${ownHost()}:${String(port)}`;
  }

  async function openPorts(started: ReadonlyMap<string, Started>, keys: AssertionKeys): Promise<void> {
    const readiness = async (): Promise<Readiness> => {
      const owners = [...started.values()].filter(({ database }) => database);
      const answers = owners.map(async ({ role, database }) => [role, (await database?.check()) ?? "ok"] as const);
      const checks = Object.fromEntries(await Promise.all(answers));
      const ready = Object.values(checks).every((check) => check === "ok");
      if (!ready) return { ready, checks };
      const all = [...started.values()].flatMap(({ events }) => events ?? []);
      const numbers = await Promise.all(all.map((events) => events.numbers()));
      return { ready, checks, numbers: Object.assign({}, ...numbers) as Record<string, number> };
    };
    const servers: Server[] = [];
    // The first step of stopping: all ports at once.
    onStop(async () => {
      for (const server of servers) server.drain();
      await Promise.all(servers.map((server) => server.close(config.graceMs)));
    }, config.graceMs + STEP_MS);
    for (const [role, port] of Object.entries(config.listen)) {
      const server = await serverOf(role, started, keys, readiness);
      servers.push(server);
      ports[role] = (await server.listen(config.listenHost, port)).port;
    }
  }

  function serverOf(
    role: string,
    started: ReadonlyMap<string, Started>,
    keys: AssertionKeys,
    readiness: () => Promise<Readiness>,
  ): Promise<Server> {
    const edge = registry[role]?.edge ?? false;
    const pipeline = pipelineOf(started, role);
    // Outsiders have no certificate.
    const asksClients = config.tls.requiresClientCerts && !edge;
    const identify = started.get(role)?.running.identify;
    const admit = createAdmit(
      role,
      identify ? byToken(identify) : byAssertion(createAssertions(role, { keys, roles: registry })),
      log,
    );
    return createServer({
      role,
      log,
      strictJson: edge,
      ...(config.tls.port && { tls: { certificates, ...(asksClients && { clientNames: Object.keys(registry) }) } }),
      ...(edge && { trustedProxies: config.trustedProxies, browsers: { origins: config.corsOrigins } }),
      ...(!edge && { limits: innerLimits }),
      services: pipeline.services.map(({ service }) => service),
      ...(edge && { hide: (method) => accessRule(method).level === "internal" }),
      routes: (router) => {
        connectRoutes(router, pipeline, admit);
      },
      unary: unaryCalls(pipeline, admit),
      readiness,
      http: (app, context) => {
        if (!edge) return mountRawRoutes(app, role, started.get(role)?.running.routes ?? [], log);
        restRoutes(app, pipeline, admit, context);
        docsRoutes(app);
        for (const name of Object.keys(registry)) {
          const here = started.get(name);
          const elsewhere = config.urls[name];
          if (here) mountRawRoutes(app, name, here.running.routes ?? [], log);
          else if (elsewhere) mountForwardedRoutes(app, name, elsewhere, fetchPeer, log);
        }
      },
    });
  }
}

function owned(database: RoleDatabase | undefined, role: string): RoleDatabase {
  if (!database) throw new Error(`the registry says that ${role} has no database`);
  return database;
}

function declared(events: RoleEvents | undefined, role: string): RoleEvents {
  if (!events) throw new Error(`the registry says that ${role} emits nothing`);
  return events;
}

function pipelineOf(started: ReadonlyMap<string, Started>, role: string): Pipeline {
  const pipeline = started.get(role)?.pipeline;
  if (!pipeline) throw new Error(`the role ${role} has not started`);
  return pipeline;
}
