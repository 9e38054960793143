import type { DescService } from "@bufbuild/protobuf";
import type { ConnectRouter } from "@connectrpc/connect";
import type { FastifyInstance } from "fastify";
import type { HealthCheckResponse_ServingStatus } from "#gen/grpc/health/v1/health_pb.ts";
import { Health, HealthCheckResponse_ServingStatus as Serving } from "#gen/grpc/health/v1/health_pb.ts";
import { notFound } from "./errors.ts";
import type { Logger } from "./logger.ts";
import { toConnectError } from "./wire.ts";

/** Whether a role can serve, from its own state only: a role that asked its peers would go down with any of them. */
export interface Readiness {
  readonly ready: boolean;
  /** One word per thing that was looked at, e.g. `{ database: "ok", migrations: "2 pending" }`. */
  readonly checks: Readonly<Record<string, string>>;
  /** What an operator watches and no probe decides by: how far events are behind. */
  readonly numbers?: Readonly<Record<string, number>>;
}

/** Milliseconds that a check may take before it counts as not ready. */
const CHECK_MS = 2_000;
/** Milliseconds between two looks on behalf of those who watch. */
const WATCH_MS = 1_000;

export interface HealthState {
  /** Never fails; probes at the same time share one check. */
  readiness(): Promise<Readiness>;
  /** Not ready from now on; watchers are told, and their streams end. */
  drain(): void;
  readonly draining: boolean;
  /** Resolves when a watcher should look again: at the same moment for all of them, so that they share a check. */
  nextLook(signal: AbortSignal): Promise<void>;
}

export function createHealthState(check: () => Promise<Readiness>, log: Logger): HealthState {
  const waiting = new Set<() => void>();
  let draining = false;
  let pending: Promise<Readiness> | undefined;
  let timer: NodeJS.Timeout | undefined;

  async function bounded(): Promise<Readiness> {
    const late = Promise.withResolvers<Readiness>();
    const timeout = setTimeout(late.resolve, CHECK_MS, { ready: false, checks: { readiness: "timeout" } });
    try {
      return await Promise.race([check(), late.promise]);
    } catch (error) {
      log.warn({ err: error }, "readiness check failed");
      return { ready: false, checks: { readiness: "failed" } };
    } finally {
      clearTimeout(timeout);
      pending = undefined;
    }
  }

  function wakeAll(): void {
    clearTimeout(timer);
    timer = undefined;
    for (const wake of waiting) wake();
  }

  return {
    async readiness() {
      if (draining) return { ready: false, checks: { server: "draining" } };
      pending ??= bounded();
      const { ready, ...found } = await pending;
      // A check that began before the drain must not say ready after it.
      return { ready: ready && !draining, ...found };
    },
    drain() {
      draining = true;
      wakeAll();
    },
    get draining() {
      return draining;
    },
    nextLook(signal) {
      return new Promise((resolve) => {
        const wake = () => {
          waiting.delete(wake);
          signal.removeEventListener("abort", wake);
          resolve();
        };
        waiting.add(wake);
        signal.addEventListener("abort", wake);
        timer ??= setTimeout(wakeAll, WATCH_MS).unref();
      });
    },
  };
}

/** GET /livez: the process answers. GET /readyz: it should get traffic; 503 while it should not. */
export function healthRoutes(app: FastifyInstance, state: HealthState): void {
  app.get("/livez", () => ({ status: "ok" }));
  app.get("/readyz", async (_request, reply) => {
    const { ready, ...found } = await state.readiness();
    return reply.code(ready ? 200 : 503).send({ status: ready ? "ready" : "not ready", ...found });
  });
}

/** grpc.health.v1.Health of the server (the empty name) and of each of its services: they are ready together. */
export function healthService(router: ConnectRouter, services: readonly DescService[], state: HealthState): void {
  const names = new Set(["", ...services.map((service) => service.typeName)]);

  async function statusOf(name: string): Promise<HealthCheckResponse_ServingStatus> {
    if (!names.has(name)) return Serving.SERVICE_UNKNOWN;
    return (await state.readiness()).ready ? Serving.SERVING : Serving.NOT_SERVING;
  }

  router.service(Health, {
    async check({ service }) {
      const status = await statusOf(service);
      if (status === Serving.SERVICE_UNKNOWN) throw toConnectError(notFound("service", service));
      return { status };
    },

    async list() {
      const status = await statusOf("");
      return { statuses: Object.fromEntries([...names].map((name) => [name, { status }])) };
    },

    async *watch({ service }, { signal }) {
      let last: HealthCheckResponse_ServingStatus | undefined;
      while (!signal.aborted) {
        const { draining } = state;
        const status = await statusOf(service);
        if (status !== last) yield { status };
        last = status;
        if (draining) return;
        // Else the drain came in between, and has woken nobody here.
        if (!state.draining) await state.nextLook(signal);
      }
    },
  });
}
