import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { decodeJwt } from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GatewayService } from "#gen/commerce/gateway/v1/gateway_pb.ts";
import { OrderState, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { UserRole } from "#gen/commerce/user/v1/user_pb.ts";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import type { Account } from "../support/accounts.ts";
import { createAccount } from "../support/accounts.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import type { Clients, Protocol } from "../support/protocols.ts";
import { clientsOf, protocols, refusalOf } from "../support/protocols.ts";
import { present } from "../support/role.ts";
import type { ShopKey } from "../support/shop-key.ts";
import { shopKeyOf } from "../support/shop-key.ts";

/** Milliseconds after which what was revoked is refused everywhere: the median of all that a topology saw of it. */
const PROMISED_MS = 1_000;
/** Milliseconds that one of them may take, where other work holds the machine up. */
const LATEST_MS = 5_000;
/** Milliseconds after which a test gives up. */
const LIMIT_MS = 15_000;

/** Who loses a session. */
interface Victim {
  readonly account: Account;
  readonly userId: string;
  readonly orderId: string;
  readonly accessToken: string;
  readonly refreshToken: string;
}

/** The states that the history of an order with stock goes through. */
const history = [...Array.from({ length: 4 }, () => OrderState.PENDING), OrderState.CONFIRMED];

/** What the calls and the streams of a revoked token are told, at two gateways. */
const everywhere = Array.from({ length: 4 }, () => "Unauthenticated TOKEN_INVALID");

/** What is seen of the end of a credential at one gateway. */
interface End {
  readonly what: "call" | "stream";
  readonly reason: string;
  readonly ms: number;
}

describe.each(topologies)("revocation in %s", (topology) => {
  let shop: Installation;
  let gateways: readonly string[];
  let admins: Clients;
  let key: ShopKey;
  let sku: string;
  const seen: number[] = [];

  beforeAll(async () => {
    shop = await startInstallation(topology);
    gateways = [shop.url, await shop.another("gateway")];
    admins = clientsOf(protocols.gRPC(shop.url));
    sku = `MUG-${randomUUID()}`;
    const price = { currencyCode: "EUR", amountMinor: 1_000n };
    await admins.products.addProduct({ title: "A mug", variants: [{ sku, price }] });
    await admins.inventory.adjustStock({ sku, delta: 1_000n });
    key = await shopKeyOf(shop);
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  const at = (url: string, protocol: Protocol = "gRPC") => clientsOf(protocols[protocol](url, "nobody"));
  const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

  async function victim(roles: readonly string[] = []): Promise<Victim> {
    const account = { email: `${randomUUID()}@tests.example`, password: "a password of theirs" };
    const userId = await createAccount(shop.url, account, shop.databases["user"]?.url ?? "", roles);
    const { accessToken, refreshToken } = await at(shop.url).auth.login(account);
    const items = [{ sku, quantity: 1 }];
    const waitFor = WaitFor.SETTLED;
    const { order } = await at(shop.url).orders.createOrder({ items, waitFor }, bearer(accessToken));
    return { account, userId, orderId: present(order).id, accessToken, refreshToken };
  }

  /** Opens a watch of a confirmed order and resolves, once it has told all, with what tells how it ends. */
  async function watch(
    url: string,
    orderId: string,
    token: string,
    protocol: Protocol = "gRPC",
  ): Promise<() => Promise<End>> {
    const signal = AbortSignal.timeout(LIMIT_MS);
    const stream = at(url, protocol).orders.watchOrder({ id: orderId }, { ...bearer(token), signal });
    const events = stream[Symbol.asyncIterator]();
    for (const state of history) {
      expect((await events.next()).value).toMatchObject({ event: { state } });
    }
    const end = events.next().then(
      () => ({ reason: "no error", at: performance.now() }),
      (error: unknown) => ({ reason: reasonOf(error), at: performance.now() }),
    );
    const openedAt = performance.now();
    return async () => {
      const { reason, at: endedAt } = await end;
      return { what: "stream", reason, ms: endedAt - openedAt };
    };
  }

  /** Calls until it is refused. */
  async function refused(url: string, orderId: string, token: string): Promise<End> {
    const startedAt = performance.now();
    const clients = at(url);
    for (;;) {
      const reason = await clients.orders.getOrder({ id: orderId }, bearer(token)).then(() => undefined, reasonOf);
      const ms = performance.now() - startedAt;
      if (reason !== undefined || ms > LIMIT_MS) return { what: "call", reason: reason ?? "it is let in", ms };
      await delay(5);
    }
  }

  /**
   * How a token ends, on every gateway, from the moment at which the act that revokes it was answered: the reasons that
   * its calls and its streams are told, with the time where that is too late.
   */
  async function endsAfter(what: string, act: () => Promise<unknown>, orderId: string, token: string) {
    const watches = await Promise.all(gateways.map((url) => watch(url, orderId, token)));
    for (const url of gateways) await at(url).orders.getOrder({ id: orderId }, bearer(token));
    const openAt = performance.now();
    await act();
    const actedAfter = performance.now() - openAt;
    const ends = await Promise.all([
      ...gateways.map((url) => refused(url, orderId, token)),
      // It may end before the act is answered.
      ...watches.map(async (end) => {
        const { ms, ...rest } = await end();
        return { ...rest, ms: Math.max(0, ms - actedAfter) };
      }),
    ]);
    const times = ends.map((end) => `${end.what} ${String(Math.round(end.ms))} ms`).join(", ");
    process.stdout.write(`${topology}, ${what}: ${times}\n`);
    seen.push(...ends.map(({ ms }) => ms));
    return ends.map(({ reason, ms }) => (ms < LATEST_MS ? reason : `${reason} after ${String(Math.round(ms))} ms`));
  }

  const isLetIn = async (token: string) => {
    for (const url of gateways) await at(url).users.getProfile({}, bearer(token));
  };

  test("Logout ends this session and no other", async () => {
    const { account, orderId, accessToken } = await victim();
    const other = await at(shop.url).auth.login(account);
    expect(
      await endsAfter("Logout", () => at(shop.url).auth.logout({}, bearer(accessToken)), orderId, accessToken),
    ).toEqual(everywhere);
    await isLetIn(other.accessToken);
  });

  test("LogoutEverywhere ends every session", async () => {
    const { account, orderId, accessToken } = await victim();
    const other = await at(shop.url).auth.login(account);
    expect(
      await endsAfter(
        "LogoutEverywhere",
        () => at(shop.url).auth.logoutEverywhere({}, bearer(other.accessToken)),
        orderId,
        accessToken,
      ),
    ).toEqual(everywhere);
    expect((await refused(shop.url, orderId, other.accessToken)).ms).toBeLessThan(LATEST_MS);
  });

  test("DeactivateUser ends every session", async () => {
    const { userId, orderId, accessToken } = await victim();
    expect(
      await endsAfter("DeactivateUser", () => admins.users.deactivateUser({ id: userId }), orderId, accessToken),
    ).toEqual(everywhere);
  });

  test("SetUserRoles ends every session where a role is taken away, and none where one is added", async () => {
    const { userId, orderId, accessToken } = await victim(["support"]);
    await admins.auth.setUserRoles({ userId, roles: [UserRole.SUPPORT, UserRole.ADMIN] });
    await isLetIn(accessToken);
    expect(
      await endsAfter(
        "SetUserRoles",
        () => admins.auth.setUserRoles({ userId, roles: [UserRole.SUPPORT] }),
        orderId,
        accessToken,
      ),
    ).toEqual(everywhere);
  });

  test("ChangePassword ends the other sessions and not its own", async () => {
    const { account, orderId, accessToken } = await victim();
    const own = await at(shop.url).auth.login(account);
    const change = { currentPassword: account.password, newPassword: "another password" };
    expect(
      await endsAfter(
        "ChangePassword",
        () => at(shop.url).auth.changePassword(change, bearer(own.accessToken)),
        orderId,
        accessToken,
      ),
    ).toEqual(everywhere);
    await isLetIn(own.accessToken);
  });

  test("a refresh token that is used again ends its session, with the tokens that came of it", async () => {
    const { orderId, accessToken, refreshToken } = await victim();
    const { auth } = at(shop.url);
    const second = await auth.refresh({ refreshToken });
    const third = await auth.refresh({ refreshToken: second.refreshToken });
    const reuse = () => refusalOf(auth.refresh({ refreshToken }));
    const ends = await endsAfter("a refresh token used again", reuse, orderId, third.accessToken);
    expect(ends).toEqual(everywhere);
    expect((await refused(shop.url, orderId, accessToken)).ms).toBeLessThan(LATEST_MS);
  });

  test("RevokeApiKey ends the calls and the streams of a machine", async () => {
    const { orderId } = await victim();
    const gateway = createClient(GatewayService, protocols.gRPC(shop.url));
    const { apiKey, secret } = await gateway.createApiKey({ name: "a machine", permissions: ["order.read"] });
    const revoke = () => gateway.revokeApiKey({ id: present(apiKey).id });
    expect(await endsAfter("RevokeApiKey", revoke, orderId, secret)).toEqual(everywhere);
  });

  test.concurrent.each(["gRPC", "Connect JSON", "Connect JSON over HTTP/1.1", "gRPC-Web"] as const)(
    "a stream ends when its token expires, over %s",
    async (protocol) => {
      const { userId, orderId } = await victim();
      const token = await key.sign({ userId, expiresIn: 2 });
      const endsBy = (decodeJwt(token).exp ?? 0) * 1_000;
      const left = endsBy - Date.now();
      const end = await (await watch(shop.url, orderId, token, protocol))();
      const late = Math.round(Date.now() - endsBy);
      process.stdout.write(
        `${topology}, ${protocol}: the stream ended ${String(late)} ms after its token, of ${String(left)} ms\n`,
      );
      expect(end.reason).toBe("Unauthenticated TOKEN_EXPIRED");
      expect(late).toBeGreaterThan(-50);
      expect(late).toBeLessThan(LATEST_MS);
      expect((await refused(shop.url, orderId, token)).reason).toBe("Unauthenticated TOKEN_EXPIRED");
    },
  );

  test.runIf(topology === "a process per role")(
    "without the user role tokens keep working; what is revoked after its return is refused",
    async () => {
      const [first, second, third] = [await victim(), await victim(), await victim()];
      await isLetIn(first.accessToken);
      const user = present(shop.processes["user"]);
      user.kill("SIGKILL");
      await user.exited;
      for (const url of gateways) {
        const call = at(url).orders.getOrder({ id: first.orderId }, bearer(first.accessToken));
        expect((await call).order?.id).toBe(first.orderId);
        for await (const _chunk of at(url).products.listProducts({ limit: 1n }, bearer(first.accessToken))) break;
      }
      const open = await watch(shop.url, second.orderId, second.accessToken);
      expect(await at(shop.url).auth.login(first.account).catch(reasonOf)).toBe("Unavailable PEER_DOWN");

      await shop.start("user");
      // The way back to it may be closed for a second.
      const logout = async (token: string): Promise<void> => {
        for (const giveUp = performance.now() + LIMIT_MS; ; await delay(20)) {
          const reason = await at(shop.url)
            .auth.logout({}, bearer(token))
            .then(() => undefined, reasonOf);
          if (reason === undefined) return;
          if (reason !== "Unavailable PEER_DOWN" || performance.now() > giveUp) throw new Error(reason);
        }
      };
      await logout(second.accessToken);
      const ends = await Promise.all(gateways.map((url) => refused(url, second.orderId, second.accessToken)));
      const times = ends.map(({ ms }) => `${String(Math.round(ms))} ms`).join(", ");
      process.stdout.write(`the first revocation after the return of the user role: ${times}\n`);
      expect(ends.map(({ reason }) => reason)).toEqual(ends.map(() => "Unauthenticated TOKEN_INVALID"));
      expect((await open()).reason).toBe("Unauthenticated TOKEN_INVALID");
      // From then on as before.
      expect(
        await endsAfter(
          "Logout after the return of the user role",
          () => at(shop.url).auth.logout({}, bearer(third.accessToken)),
          third.orderId,
          third.accessToken,
        ),
      ).toEqual(everywhere);
      await isLetIn(first.accessToken);
    },
  );

  test("what is revoked ends within a second", () => {
    expect(seen.length).toBeGreaterThan(0);
    expect(seen.toSorted((a, b) => a - b)[Math.floor(seen.length / 2)]).toBeLessThan(PROMISED_MS);
  });
});

function reasonOf(thrown: unknown): string {
  const error = ConnectError.from(thrown);
  const infos = error.findDetails(ErrorInfoSchema).map(({ reason }) => reason);
  return `${Code[error.code]} ${infos.join(" and ")}`;
}
