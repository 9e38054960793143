import type { DescService } from "@bufbuild/protobuf";
import type { Kysely } from "kysely";
import type { Header } from "./authenticate.ts";
import type { Identity, ServedService } from "./call.ts";
import type { Peers } from "./clients/clients.ts";
import type { Clock } from "./clock.ts";
import type { ConfigOf, ConfigSpec } from "./config.ts";
import type { Consumer, EventSchema, EventsDeclaration } from "./events/declaration.ts";
import type { Outbox } from "./events/outbox.ts";
import type { Broadcast } from "./events/role-events.ts";
import type { Logger } from "./logger.ts";
import type { Notifications } from "./notifications.ts";
import type { PageTokens } from "./page.ts";
import type { PeerFetch } from "./peer-fetch.ts";
import type { PipelineHooks } from "./pipeline.ts";
import type { RawRoute } from "./raw-routes.ts";

/** One line of the registry: what is known of a role without loading its code. */
export interface RoleEntry {
  /** The port it listens on where nothing else is configured. */
  readonly port: number;
  /** What it serves. The gateway exposes it, less what is INTERNAL. */
  readonly services: readonly DescService[];
  /** Whether it owns a database `<role>db`. */
  readonly database: boolean;
  /** Clients outside come in here: strict about unknown fields, deaf to the assertions of roles. */
  readonly edge?: boolean;
  /** Prefix of its `_HOST` and `_PORT` aliases in the environment; `<ROLE>SERVICE` where it is left out. */
  readonly alias?: string;
  /** What it emits and what it consumes; see docs/events.md. */
  readonly events?: EventsDeclaration;
  /** Its code; loaded only where the role runs. */
  readonly load: () => Promise<{ readonly default: RoleDefinition }>;
}

export type Registry = Readonly<Record<string, RoleEntry>>;

/** What a role is started with. No role knows whether its peers run in the same process. */
export interface RoleContext<C extends ConfigSpec = ConfigSpec> {
  readonly name: string;
  readonly config: ConfigOf<C>;
  /** The role's database; its tables' types are the role's own. */
  readonly database: <Tables>() => Kysely<Tables>;
  /** Notifications of one channel of the role's database. */
  readonly listen: (channel: string) => Notifications;
  /** Where the role's own events are written; `schema` is the one that its declaration emits. */
  readonly outbox: <S extends EventSchema>(schema: S) => Outbox<S>;
  /** Hints to the processes that run at this moment. */
  readonly broadcast: Broadcast;
  /** Has the consumers look at once for what is due: a dead letter that is to be applied anew. */
  readonly wakeInbox: () => void;
  /** Where clients reach the shop, without a slash at the end; for links, once the ports are open. */
  readonly publicUrl: () => string;
  /**
   * Where this process reaches the raw routes of a role, `http://…/-/<role>`: at the port that is open for it; once the
   * ports are open.
   */
  readonly routesUrl: (role: string) => string;
  /** Sends requests there. */
  readonly fetchPeer: PeerFetch;
  readonly peers: Peers;
  readonly pages: PageTokens;
  /** A key of 32 bytes for one purpose of this role, the same in all its processes; see {@link deriveKey}. */
  readonly key: (purpose: string) => Buffer;
  /** A key of 32 bytes for one purpose, the same in all roles of the installation: for two of them that share it. */
  readonly sharedKey: (purpose: string) => Buffer;
  readonly clock: Clock;
  readonly log: Logger;
  /** The other roles of this installation, by name. */
  readonly others: Readonly<Record<string, Pick<RoleEntry, "services">>>;
  /** Whether the shop is tried out: on a Postgres of its own, and no other machine reaches it. */
  readonly tryout: boolean;
  /** Aborts when the process begins to stop: streams that would wait for ever end then. */
  readonly stopping: AbortSignal;
}

/** A role that runs. */
export interface RunningRole extends PipelineHooks {
  /** At the edge: who calls, by the headers of the request. @throws AppError TOKEN_INVALID, TOKEN_EXPIRED */
  readonly identify?: (header: Header) => Promise<Identity>;
  readonly services: readonly ServedService[];
  readonly routes?: readonly RawRoute[];
  /** What is done for the events that the role's declaration consumes. */
  readonly consumers?: readonly Consumer[];
  /** Fills an empty database with samples; only called on the embedded Postgres. */
  addSamples?(): Promise<void>;
  /** Ends what the role runs by itself; calls are done by then. */
  close?(): Promise<void>;
}

export interface RoleDefinition<C extends ConfigSpec = ConfigSpec> {
  /** The configuration keys of this role beside those of the platform. */
  readonly config: C;
  start(context: RoleContext<C>): Promise<RunningRole> | RunningRole;
}

/** Types a role's definition by its configuration keys. */
export function defineRole<const C extends ConfigSpec>(definition: RoleDefinition<C>): RoleDefinition {
  // The context is made from this very definition's keys.
  return definition as unknown as RoleDefinition;
}
