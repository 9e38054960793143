import { create, toBinary } from "@bufbuild/protobuf";
import { pino } from "pino";
import { OrderEventSchema } from "#gen/commerce/order/v1/events_pb.ts";
import type { GetMailRecipientRequest } from "#gen/commerce/user/v1/auth_pb.ts";
import { AuthService, MailTokenPurpose } from "#gen/commerce/user/v1/auth_pb.ts";
import { UserEventSchema } from "#gen/commerce/user/v1/events_pb.ts";
import type { EventInit } from "../../src/platform/events/declaration.ts";
import { toBusMessage } from "../../src/platform/events/envelope.ts";
import { createInbox } from "../../src/platform/events/inbox.ts";
import { errors } from "../../src/platform/errors.ts";
import { newId } from "../../src/platform/id.ts";
import type { RawResponse } from "../../src/platform/raw-routes.ts";
import type { RunningRole } from "../../src/platform/role.ts";
import notification from "../../src/roles/notification/index.ts";
import { parseSender } from "../../src/roles/notification/mail-config.ts";
import type { NotificationTables } from "../../src/roles/notification/schema.ts";
import { until } from "./conditions.ts";
import type { TestRole } from "./role.ts";
import { peer, startTestRole } from "./role.ts";

/** A user as the user role knows it; what is left out is Ada's. */
export interface TestUser {
  readonly email: string;
  readonly displayName: string;
  readonly locale: string;
  readonly active: boolean;
  readonly emailConfirmed: boolean;
}

export const ada: TestUser = {
  email: "ada@example.com",
  displayName: "Ada Lovelace",
  locale: "en-GB",
  active: true,
  emailConfirmed: false,
};

/** The role `notification` with a user role that knows whom the test says. */
export interface Notifier extends AsyncDisposable {
  readonly role: TestRole;
  /** Makes a user known; answers the id. */
  know(user?: Partial<TestUser>): string;
  /** The calls of GetMailRecipient so far. */
  readonly asked: readonly GetMailRecipientRequest[];
  /** Whether the user role answers. */
  peerIsUp: boolean;
  /** An event of a user arrives; answers the same event for another arrival. */
  user(event: EventInit<typeof UserEventSchema>, userId: string, occurredAt?: Date): Promise<Uint8Array>;
  order(event: EventInit<typeof OrderEventSchema>, orderId: string, sequence?: bigint): Promise<Uint8Array>;
  receive(...bodies: Uint8Array[]): Promise<void>;
  deliveries(): Promise<readonly DeliveryState[]>;
  /** Resolves when every delivery is settled. */
  settled(): Promise<readonly DeliveryState[]>;
  /** Resolves when an attempt of the only delivery has ended for now; then makes it due. */
  hasten(attempts: number): Promise<void>;
  /** Asks for a page of the role. */
  http(
    method: "GET" | "POST",
    path: string,
    headers?: Readonly<Record<string, string>>,
    of?: RunningRole,
  ): Promise<RawResponse>;
}

export interface DeliveryState {
  readonly id: string;
  readonly template: string;
  readonly state: string;
  readonly attempts: number;
  readonly error: string;
  readonly recipient: string;
}

/** @param config what is said beside the defaults */
export async function startNotifier(config: Readonly<Record<string, unknown>> = {}): Promise<Notifier> {
  const users = new Map<string, TestUser>();
  const asked: GetMailRecipientRequest[] = [];
  const auth = peer(AuthService, {
    getMailRecipient(request) {
      asked.push(request);
      if (!notifier.peerIsUp) throw errors.OVERLOADED({ retryAfterMs: 10 });
      const user = users.get(request.userId);
      if (!user) throw errors.NOT_FOUND();
      const token = request.purpose === MailTokenPurpose.UNSPECIFIED || !user.active ? "" : `token-${asked.length}`;
      return Promise.resolve({ ...user, token });
    },
  });
  const role = await startTestRole("notification", notification, {
    peers: [auth],
    config: {
      MAIL_FROM: parseSender("Shop <shop@example.com>"),
      SHOP_NAME: "The Shop",
      MAIL_LOCALE: "en",
      ...config,
    },
  });
  const db = role.database<NotificationTables>();
  const inbox = createInbox({
    db: role.database<unknown>(),
    group: "notification",
    consumers: role.running.consumers ?? [],
    log: pino({ level: "error" }),
  });
  const sequences = new Map<string, bigint>();

  async function arrive(
    topic: string,
    aggregate: string,
    type: string,
    payload: Uint8Array,
    occurredAt = new Date(),
  ): Promise<Uint8Array> {
    const sequence = (sequences.get(aggregate) ?? 0n) + 1n;
    sequences.set(aggregate, sequence);
    const { body } = toBusMessage(topic, {
      id: newId(),
      partition: 0,
      aggregate_id: aggregate,
      sequence,
      type,
      version: 1,
      payload: Buffer.from(payload),
      traceparent: "",
      occurred_at: occurredAt,
      first_for: [],
    });
    await inbox.receive([body]);
    return body;
  }

  const deliveries = () =>
    db
      .selectFrom("deliveries")
      .select(["id", "template", "state", "attempts", "error", "recipient"])
      .orderBy("id")
      .execute();
  const notifier: Notifier = {
    role,
    asked,
    peerIsUp: true,
    know(user = {}) {
      const id = newId();
      users.set(id, { ...ada, ...user });
      return id;
    },
    user: (event, userId, occurredAt) => {
      const payload = toBinary(UserEventSchema, create(UserEventSchema, { event }));
      return arrive("user", userId, `user.${snake(event.case)}`, payload, occurredAt);
    },
    order: (event, orderId) => {
      const payload = toBinary(OrderEventSchema, create(OrderEventSchema, { event }));
      return arrive("order", orderId, `order.${snake(event.case)}`, payload);
    },
    receive: (...bodies) => inbox.receive(bodies),
    deliveries,
    async settled() {
      await until(async () => (await deliveries()).every(({ state }) => state !== "pending"), 20_000);
      return deliveries();
    },
    async hasten(attempts) {
      const waits = async () => {
        const rows = await db.selectFrom("deliveries").select(["attempts", "lease_token", "state"]).execute();
        return rows.every((row) => row.attempts === attempts && row.lease_token === null && row.state === "pending");
      };
      await until(waits, 20_000);
      await db
        .updateTable("deliveries")
        .set({ next_attempt_at: new Date(0) })
        .execute();
    },
    async http(method, path, headers = { host: "localhost:8080" }, of = role.running) {
      const url = new URL(`http://host${path}`);
      const route = of.routes?.find((one) => one.method === method && patternOf(one.path).test(url.pathname));
      if (!route) throw new Error(`there is no route ${method} ${path}`);
      return route.handle({
        method,
        path: url.pathname,
        params: { ...patternOf(route.path).exec(url.pathname)?.groups },
        query: url.searchParams,
        headers,
        body: Buffer.alloc(0),
        requestId: "test",
        signal: new AbortController().signal,
        log: pino({ level: "error" }),
      });
    },
    [Symbol.asyncDispose]: () => role[Symbol.asyncDispose](),
  };
  return notifier;
}

function patternOf(path: string): RegExp {
  return new RegExp(`^${path.replaceAll(/:(\w+)/g, "(?<$1>[^/]+)")}$`);
}

function snake(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
