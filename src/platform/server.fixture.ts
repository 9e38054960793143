import type { DescMethod } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { Client, credentials } from "@grpc/grpc-js";
import { pino } from "pino";
import { onTestFinished } from "vitest";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { errors, notFound } from "./errors.ts";
import type { Readiness, Server, ServerOptions } from "./server.ts";
import { createServer } from "./server.ts";
import { toConnectError } from "./wire.ts";

export interface TestServer {
  readonly server: Server;
  readonly url: string;
  readonly port: number;
  /** What the server has logged, one object a line. */
  readonly logged: Record<string, unknown>[];
  /** Calls that wait for `release`. */
  readonly held: { count(): number; release(): void };
}

/**
 * A server with trivial handlers of real descriptors. GetUser answers the id it gets; "absent" is not found, "held"
 * waits for `release`, "bug" fails unforeseen; CreateOrders answers each sequence; ListProducts never stops.
 */
export async function startServer(options: Partial<ServerOptions> = {}): Promise<TestServer> {
  const logged: Record<string, unknown>[] = [];
  const log = pino({ level: "debug" }, { write: (line) => void logged.push(JSON.parse(line)) });
  let held = 0;
  const released = Promise.withResolvers<void>();
  const services = [UserService, OrderService, ProductService];
  const server = await createServer({
    role: "test",
    log,
    services,
    readiness: async (): Promise<Readiness> => ({ ready: true, checks: { database: "ok" } }),
    strictJson: true,
    routes(router) {
      router.service(UserService, {
        async getUser({ id }) {
          if (id === "absent") throw toConnectError(notFound("user", id));
          if (id === "bug") throw toConnectError(errors.INTERNAL());
          if (id === "held") {
            held++;
            await released.promise;
          }
          return { user: { id, displayName: "x".repeat(id === "large" ? 4_000 : 1) } };
        },
      });
      router.service(OrderService, {
        async *createOrders(requests) {
          for await (const { sequence } of requests) yield { sequence };
        },
      });
      router.service(ProductService, {
        async *listProducts(_request, { signal }) {
          while (!signal.aborted) yield { resumeToken: "x".repeat(100_000) };
        },
      });
    },
    ...options,
  });
  onTestFinished(() => server.close(0));
  const { port } = await server.listen("127.0.0.1", 0);
  const url = `${options.tls ? "https" : "http"}://127.0.0.1:${String(port)}`;
  return { server, url, port, logged, held: { count: () => held, release: released.resolve } };
}

const transports = {
  "Connect binary, h2c": (baseUrl: string) => createConnectTransport({ baseUrl, httpVersion: "2" }),
  "Connect JSON, h2c": (baseUrl: string) =>
    createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: false }),
  "gRPC, h2c": (baseUrl: string) => createGrpcTransport({ baseUrl }),
  "gRPC-Web, h2c": (baseUrl: string) => createGrpcWebTransport({ baseUrl, httpVersion: "2" }),
  "gRPC-Web, HTTP/1.1": (baseUrl: string) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  "Connect GET, HTTP/1.1": (baseUrl: string) =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", useHttpGet: true }),
};

export const protocols = Object.entries(transports);

export function userClient(url: string, transport = transports["gRPC, h2c"]) {
  return createClient(UserService, transport(url));
}

/** A client of grpc-js, which sends whatever bytes it is given. */
export function grpcClient(port: number): Client {
  const client = new Client(`127.0.0.1:${String(port)}`, credentials.createInsecure());
  onTestFinished(() => client.close());
  return client;
}

export const pathOf = (method: DescMethod) => `/${method.parent.typeName}/${method.name}`;
export const getUserPath = pathOf(UserService.method.getUser);
