import type { DescService } from "@bufbuild/protobuf";
import type { Client, Transport } from "@connectrpc/connect";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { wireRegistry } from "../../src/platform/wire.ts";

const jsonOptions = { registry: wireRegistry };

/** Every way in which a client may speak, over the HTTP version that it would use. */
export const protocols = {
  "Connect JSON": (baseUrl: string) =>
    createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: false, jsonOptions }),
  "Connect JSON over HTTP/1.1": (baseUrl: string) =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false, useHttpGet: true, jsonOptions }),
  "Connect binary": (baseUrl: string) => createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: true }),
  gRPC: (baseUrl: string) => createGrpcTransport({ baseUrl }),
  "gRPC-Web": (baseUrl: string) => createGrpcWebTransport({ baseUrl, httpVersion: "2" }),
  "gRPC-Web over HTTP/1.1": (baseUrl: string) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
} satisfies Record<string, (baseUrl: string) => Transport>;

export type Protocol = keyof typeof protocols;

/** Whether a client of this protocol can stream upwards. */
export function streamsUp(protocol: Protocol): boolean {
  return !protocol.endsWith("HTTP/1.1");
}

export interface Clients {
  readonly users: Client<typeof UserService>;
  readonly products: Client<typeof ProductService>;
  readonly orders: Client<typeof OrderService>;
}

export function clientsOf(transport: Transport): Clients {
  const client = <S extends DescService>(service: S) => createClient(service, transport);
  return { users: client(UserService), products: client(ProductService), orders: client(OrderService) };
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
