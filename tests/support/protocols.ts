import type { DescService } from "@bufbuild/protobuf";
import type { Client, Interceptor, Transport } from "@connectrpc/connect";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { InventoryService } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { PaymentService } from "#gen/commerce/payment/v1/payment_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import type { Account } from "./accounts.ts";
import { admin, as } from "./accounts.ts";
import type { Topology } from "./installation.ts";
import { createRestTransport } from "./rest.ts";
import { wireRegistry } from "../../src/platform/wire.ts";

const jsonOptions = { registry: wireRegistry };

type MakeTransport = (baseUrl: string, interceptors: Interceptor[]) => Transport;

const transports = {
  "Connect JSON": (baseUrl, interceptors) =>
    createConnectTransport({ baseUrl, interceptors, httpVersion: "2", useBinaryFormat: false, jsonOptions }),
  "Connect JSON over HTTP/1.1": (baseUrl, interceptors) =>
    createConnectTransport({
      baseUrl,
      interceptors,
      httpVersion: "1.1",
      useBinaryFormat: false,
      useHttpGet: true,
      jsonOptions,
    }),
  "Connect binary": (baseUrl, interceptors) =>
    createConnectTransport({ baseUrl, interceptors, httpVersion: "2", useBinaryFormat: true }),
  gRPC: (baseUrl, interceptors) => createGrpcTransport({ baseUrl, interceptors }),
  "gRPC-Web": (baseUrl, interceptors) => createGrpcWebTransport({ baseUrl, interceptors, httpVersion: "2" }),
  "gRPC-Web over HTTP/1.1": (baseUrl, interceptors) =>
    createGrpcWebTransport({ baseUrl, interceptors, httpVersion: "1.1" }),
  REST: createRestTransport,
} satisfies Record<string, MakeTransport>;

/** Every way in which a client may speak, over the HTTP version that it would use; as the admin unless said otherwise. */
export const protocols = Object.fromEntries(
  Object.entries<MakeTransport>(transports).map(([name, make]) => [
    name,
    (baseUrl: string, account: Account | "nobody" = admin) =>
      make(baseUrl, account === "nobody" ? [] : [as(baseUrl, account)]),
  ]),
) as Record<keyof typeof transports, (baseUrl: string, account?: Account | "nobody") => Transport>;

export type Protocol = keyof typeof protocols;

/**
 * A protocol ends at the gateway: where roles run is nothing to it. All are spoken to one process, and of each kind one, so
 * that both versions of HTTP are among them, to a process per role.
 */
export const spokenTo: Readonly<Record<Topology, readonly Protocol[]>> = {
  "one process": Object.keys(protocols) as Protocol[],
  "a process per role": ["Connect JSON", "gRPC", "gRPC-Web over HTTP/1.1", "REST"],
};

/** Whether a client of this protocol can stream upwards. */
export function streamsUp(protocol: Protocol): boolean {
  return protocol !== "REST" && !protocol.endsWith("HTTP/1.1");
}

export interface Clients {
  readonly users: Client<typeof UserService>;
  readonly products: Client<typeof ProductService>;
  readonly orders: Client<typeof OrderService>;
  readonly payments: Client<typeof PaymentService>;
  readonly inventory: Client<typeof InventoryService>;
  readonly auth: Client<typeof AuthService>;
}

export function clientsOf(transport: Transport): Clients {
  const client = <S extends DescService>(service: S) => createClient(service, transport);
  return {
    users: client(UserService),
    products: client(ProductService),
    orders: client(OrderService),
    payments: client(PaymentService),
    inventory: client(InventoryService),
    auth: client(AuthService),
  };
}

/** The code and the reason with which a call fails. @throws Error where it does not fail, or without one ErrorInfo. */
export async function refusalOf(call: Promise<unknown>): Promise<{ code: string; reason: string }> {
  const error: unknown = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ConnectError)) throw new Error("the call did not fail as an RPC does", { cause: error });
  const infos = error.findDetails(ErrorInfoSchema);
  if (infos.length !== 1) throw new Error(`${String(infos.length)} ErrorInfos`, { cause: error });
  return { code: Code[error.code], reason: infos[0]?.reason ?? "" };
}
