import type { DescService, MessageInitShape } from "@bufbuild/protobuf";
import { createRegistry } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { authorize } from "./authorize.ts";
import { InventoryService } from "./gen/commerce/inventory/v1/inventory_pb.ts";
import { NotificationService } from "./gen/commerce/notification/v1/notification_pb.ts";
import { OrderService } from "./gen/commerce/order/v1/order_pb.ts";
import { PaymentService } from "./gen/commerce/payment/v1/payment_pb.ts";
import { ProductService } from "./gen/commerce/product/v1/product_pb.ts";
import type { FinishOpenIdLoginRequestSchema, LoginRequestSchema } from "./gen/commerce/user/v1/auth_pb.ts";
import { AuthService } from "./gen/commerce/user/v1/auth_pb.ts";
import type { User } from "./gen/commerce/user/v1/user_pb.ts";
import { UserService } from "./gen/commerce/user/v1/user_pb.ts";
import { file_google_rpc_error_details } from "./gen/google/rpc/error_details_pb.ts";
import { giveKeys } from "./idempotency-keys.ts";
import { reaching } from "./reach.ts";
import { createResumingClient } from "./resuming.ts";
import { createRetry } from "./retry.ts";
import type { LoggedOut } from "./session.ts";
import { createSession } from "./session.ts";
import type { TokenStore } from "./tokens.ts";
import { memoryTokens } from "./tokens.ts";

export interface ShopOptions {
  /** Where the shop is, for example `https://shop.example`. */
  readonly baseUrl: string;
  /** How calls are written: `json` can be read by people, `binary` is smaller. */
  readonly format?: "json" | "binary";
  /** What carries them; both over fetch. */
  readonly protocol?: "connect" | "grpc-web";
  /** Where the tokens of a login are kept; in memory unless said otherwise. */
  readonly tokens?: TokenStore;
  /** Called once when nobody is logged in any more. */
  readonly onLoggedOut?: (why: LoggedOut) => void;
  /** In place of the global one. */
  readonly fetch?: typeof globalThis.fetch;
}

export interface OpenIdLogin {
  readonly user: User | undefined;
  /** Where the app wanted to go on, of `auth.startOpenIdLogin`. */
  readonly returnTo: string;
}

/** The shop as one user, or nobody, sees it. */
export interface Shop {
  readonly products: Client<typeof ProductService>;
  readonly orders: Client<typeof OrderService>;
  readonly payments: Client<typeof PaymentService>;
  readonly inventory: Client<typeof InventoryService>;
  readonly users: Client<typeof UserService>;
  readonly notifications: Client<typeof NotificationService>;
  /** Passwords, sessions, roles. Logging in and out is the shop's own `login`, `finishOpenIdLogin` and `logout`. */
  readonly auth: Omit<Client<typeof AuthService>, "login" | "finishOpenIdLogin" | "refresh" | "logout">;
  /** The client of any other service, for example `GatewayService`. */
  client<S extends DescService>(service: S): Client<S>;
  /** Every later call is this user's. @throws ConnectError CREDENTIALS_INVALID, RATE_LIMITED */
  login(credentials: MessageInitShape<typeof LoginRequestSchema>): Promise<User | undefined>;
  /**
   * As `login`, with what an OpenID provider sent the browser back with after `auth.startOpenIdLogin`.
   * @throws ConnectError OPENID_LOGIN_INVALID, EMAIL_UNVERIFIED, LOGIN_LINK_REQUIRED, RATE_LIMITED, PEER_DOWN
   */
  finishOpenIdLogin(answer: MessageInitShape<typeof FinishOpenIdLoginRequestSchema>): Promise<OpenIdLogin>;
  /** Ends the session. Its tokens are gone at once, also where the shop cannot be reached, which throws. */
  logout(): Promise<void>;
}

/** Makes the clients of a shop. Nothing is sent before the first call. */
export function createShop(options: ShopOptions): Shop {
  const { baseUrl, format = "json", protocol = "connect", tokens = memoryTokens(), onLoggedOut } = options;
  const base = {
    baseUrl,
    useBinaryFormat: format === "binary",
    fetch: reaching(options.fetch ?? ((input, init) => globalThis.fetch(input, init))),
    // The errors of single orders of a batch have details.
    jsonOptions: { registry: createRegistry(file_google_rpc_error_details) },
  };
  const createTransport = protocol === "connect" ? createConnectTransport : createGrpcWebTransport;
  const session = createSession(createTransport(base), tokens, onLoggedOut);
  const transport = createTransport({ ...base, interceptors: [giveKeys, createRetry(), authorize(session)] });
  const client = <S extends DescService>(service: S) => createResumingClient(service, transport);
  return {
    products: client(ProductService),
    orders: client(OrderService),
    payments: client(PaymentService),
    inventory: client(InventoryService),
    users: client(UserService),
    notifications: client(NotificationService),
    auth: client(AuthService),
    client,
    login: async (credentials) => (await session.login(credentials)).user,
    async finishOpenIdLogin(answer) {
      const { user, returnTo } = await session.finishOpenIdLogin(answer);
      return { user, returnTo };
    },
    logout: () => session.logout(),
  };
}
