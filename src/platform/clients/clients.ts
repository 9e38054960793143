import type { DescService } from "@bufbuild/protobuf";
import type { Client, Transport } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";
import type { Assertions } from "../assertion.ts";
import type { Logger } from "../logger.ts";
import type { Pipeline } from "../pipeline.ts";
import type { Certificates } from "../certificates.ts";
import type { Connections } from "./connections.ts";
import { openConnections } from "./connections.ts";
import { localTransport } from "./local.ts";
import { networkTransport } from "./network.ts";
import { withRetries } from "./retry.ts";

/** How one role reaches the others. Whether a peer runs in this process is known here and nowhere else. */
export interface Peers {
  /** A typed client; the package says the role: `commerce.user.v1` is served by `user`. */
  client<S extends DescService>(service: S): Client<S>;
  /** The transport to a role, with retries: for the outermost caller, and for a role's own work. */
  outermost(role: string): Transport;
}

export interface PeersOptions {
  /** The role that calls. */
  readonly caller: string;
  /** Whether it only passes on the calls of outsiders. */
  readonly edge: boolean;
  /** The pipeline of a role in this process, if it runs here. */
  readonly local: (role: string) => (() => Pipeline) | undefined;
  /** The connections to a role elsewhere. */
  readonly remote: (role: string) => Connections;
  readonly assertions: Assertions;
  readonly log: Logger;
}

export function createPeers({ caller, edge, local, remote, assertions, log }: PeersOptions): Peers {
  const plain = new Map<string, Transport>();
  const retrying = new Map<string, Transport>();

  function transport(role: string): Transport {
    return once(plain, role, () => {
      const pipeline = local(role);
      if (pipeline) return localTransport({ caller, edge, pipeline, log });
      return networkTransport({ caller, edge, peer: role, connections: remote(role), assertions });
    });
  }

  return {
    client: (service) => createClient(service, transport(roleOf(service))),
    outermost: (role) => once(retrying, role, () => withRetries(transport(role))),
  };
}

/** The role that serves a service: the second part of its package. */
export function roleOf(service: DescService): string {
  const role = service.typeName.split(".")[1];
  if (role === undefined) throw new TypeError(`${service.typeName} is not of a package commerce.<role>.v1`);
  return role;
}

/** The connections of this process to roles elsewhere, shared by its roles. */
export function createConnectionPool(
  urlOf: (role: string) => URL,
  certificates: Certificates,
): {
  to(role: string): Connections;
  close(): void;
} {
  const pool = new Map<string, Connections>();
  return {
    to: (role) => once(pool, role, () => openConnections(urlOf(role), certificates)),
    close() {
      for (const connections of pool.values()) connections.close();
    },
  };
}

function once<V>(map: Map<string, V>, key: string, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
