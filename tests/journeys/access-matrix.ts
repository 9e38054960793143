/**
 * Who may call what, through the gateway: the promises of the product, written by hand and reviewed by people. It is not
 * taken from the access options of the proto files, so that a wrong option is found. `npm run check` fails where an rpc
 * is missing here or here alone; access.test.ts makes every call.
 *
 * The calls are about things of one customer, the owner.
 *   anonymous  nobody: no token
 *   owner      the customer whose things they are
 *   other      another customer
 *   support    a user with the role SUPPORT
 *   admin      a user with the role ADMIN
 *   machine    an API key with every permission but the one of the last column
 *   permitted  an API key with the permission of the last column alone; none where there is no permission, `-`
 *
 * Each word is what becomes of the call.
 *   ok       it is let in, and reaches what it is about
 *   own      it is let in, and about the caller's own things whatever it says: nothing of the owner changes
 *   missing  TOKEN_MISSING
 *   denied   ACCESS_DENIED, the same bytes whether the thing exists or not
 *   hidden   UNSUPPORTED_METHOD: from outside there is no such method
 */
const table = `
rpc                      anonymous  owner   other   support  admin   machine  permitted  permission

commerce.user.v1.UserService
CreateUser               ok         ok      ok      ok       ok      ok       ok         -
GetUser                  missing    ok      denied  ok       ok      denied   ok         user.read
BatchGetUsers            hidden     hidden  hidden  hidden   hidden  hidden   hidden     -
ListUsers                missing    denied  denied  ok       ok      denied   ok         user.read
UpdateUser               missing    ok      denied  denied   ok      denied   ok         user.write
DeactivateUser           missing    denied  denied  denied   ok      denied   ok         user.write
ReactivateUser           missing    denied  denied  denied   ok      denied   ok         user.write
GetProfile               missing    ok      own     own      own     denied   denied     -
UpdateProfile            missing    ok      own     own      own     denied   denied     -
AddAddress               missing    ok      own     own      own     denied   denied     -
UpdateAddress            missing    ok      denied  denied   denied  denied   denied     -
RemoveAddress            missing    ok      own     own      own     denied   denied     -

commerce.user.v1.AuthService
Login                    ok         ok      ok      ok       ok      ok       ok         -
Refresh                  ok         ok      ok      ok       ok      ok       ok         -
Logout                   missing    ok      own     own      own     denied   denied     -
LogoutEverywhere         missing    ok      denied  denied   ok      denied   ok         user.write
ChangePassword           missing    ok      own     own      own     denied   denied     -
ListSessions             missing    ok      denied  ok       ok      denied   ok         user.read
SetUserRoles             missing    denied  denied  denied   ok      denied   denied     user.grant
RequestPasswordReset     ok         ok      ok      ok       ok      ok       ok         -
ResetPassword            ok         ok      ok      ok       ok      ok       ok         -
RequestEmailConfirmation missing    ok      own     own      own     denied   denied     -
ConfirmEmail             ok         ok      ok      ok       ok      ok       ok         -
ListLoginProviders       ok         ok      ok      ok       ok      ok       ok         -
StartOpenIdLogin         ok         ok      ok      ok       ok      ok       ok         -
FinishOpenIdLogin        ok         ok      ok      ok       ok      ok       ok         -
LinkOpenIdIdentity       missing    ok      own     own      own     denied   denied     -
ListExternalIdentities   missing    ok      own     own      own     denied   denied     -
UnlinkExternalIdentity   missing    ok      own     own      own     denied   denied     -
GetMailRecipient         hidden     hidden  hidden  hidden   hidden  hidden   hidden     -
ListSigningKeys          hidden     hidden  hidden  hidden   hidden  hidden   hidden     -
WatchRevocations         hidden     hidden  hidden  hidden   hidden  hidden   hidden     -

commerce.product.v1.ProductService
AddProduct               missing    denied  denied  denied   ok      denied   ok         product.write
GetProduct               ok         ok      ok      ok       ok      ok       ok         -
BatchGetProducts         ok         ok      ok      ok       ok      ok       ok         -
QueryProducts            ok         ok      ok      ok       ok      ok       ok         -
ListProducts             ok         ok      ok      ok       ok      ok       ok         -
UpdateProduct            missing    denied  denied  denied   ok      denied   ok         product.write
ArchiveProduct           missing    denied  denied  denied   ok      denied   ok         product.write
UnarchiveProduct         missing    denied  denied  denied   ok      denied   ok         product.write
CreateCategory           missing    denied  denied  denied   ok      denied   ok         product.write
GetCategory              ok         ok      ok      ok       ok      ok       ok         -
ListCategories           ok         ok      ok      ok       ok      ok       ok         -
UpdateCategory           missing    denied  denied  denied   ok      denied   ok         product.write
DeleteCategory           missing    denied  denied  denied   ok      denied   ok         product.write

commerce.order.v1.OrderService
CreateOrder              missing    ok      denied  ok       ok      denied   ok         order.write
CreateOrders             missing    ok      denied  ok       ok      denied   ok         order.write
BatchCreateOrders        missing    ok      denied  ok       ok      denied   ok         order.write
GetOrder                 missing    ok      denied  ok       ok      denied   ok         order.read
ListOrders               missing    ok      denied  ok       ok      denied   ok         order.read
CancelOrder              missing    ok      denied  ok       ok      denied   ok         order.write
ListOrderEvents          missing    ok      denied  ok       ok      denied   ok         order.read
WatchOrder               missing    ok      denied  ok       ok      denied   ok         order.read
RefundOrder              missing    denied  denied  ok       ok      denied   ok         order.refund
FulfilOrder              missing    denied  denied  denied   ok      denied   ok         order.fulfil
DeliverOrder             missing    denied  denied  denied   ok      denied   ok         order.fulfil
BatchGetOrders           hidden     hidden  hidden  hidden   hidden  hidden   hidden     -

commerce.order.v1.DeadLetterService
ListDeadLetters          missing    denied  denied  denied   ok      denied   ok         event.read
GetDeadLetter            missing    denied  denied  denied   ok      denied   ok         event.read
ReplayDeadLetter         missing    denied  denied  denied   ok      denied   ok         event.write
SkipDeadLetter           missing    denied  denied  denied   ok      denied   ok         event.write

commerce.payment.v1.PaymentService
GetPayment               missing    ok      denied  ok       ok      denied   ok         payment.read
ListPayments             missing    denied  denied  ok       ok      denied   ok         payment.read
ListLedgerTransactions   missing    denied  denied  ok       ok      denied   ok         payment.read
GetLedgerBalances        missing    denied  denied  ok       ok      denied   ok         payment.read
SavePaymentMethod        missing    ok      denied  denied   ok      denied   ok         payment.write
ListPaymentMethods       missing    ok      denied  ok       ok      denied   ok         payment.read
RemovePaymentMethod      missing    ok      denied  denied   ok      denied   ok         payment.write
AuthorizePayment         hidden     hidden  hidden  hidden   hidden  hidden   hidden     -
CapturePayment           hidden     hidden  hidden  hidden   hidden  hidden   hidden     -
VoidPayment              hidden     hidden  hidden  hidden   hidden  hidden   hidden     -
RefundPayment            hidden     hidden  hidden  hidden   hidden  hidden   hidden     -

commerce.inventory.v1.InventoryService
AdjustStock              missing    denied  denied  denied   ok      denied   ok         stock.write
TransferStock            missing    denied  denied  denied   ok      denied   ok         stock.write
UpdateStockPolicy        missing    denied  denied  denied   ok      denied   ok         stock.write
BatchGetStock            missing    denied  denied  ok       ok      denied   ok         stock.read
ListStock                missing    denied  denied  ok       ok      denied   ok         stock.read
BatchGetAvailability     ok         ok      ok      ok       ok      ok       ok         -
ListMovements            missing    denied  denied  ok       ok      denied   ok         stock.read
WatchStock               missing    denied  denied  ok       ok      denied   ok         stock.read
CreateLocation           missing    denied  denied  denied   ok      denied   ok         stock.write
UpdateLocation           missing    denied  denied  denied   ok      denied   ok         stock.write
ListLocations            missing    denied  denied  ok       ok      denied   ok         stock.read
ReserveStock             hidden     hidden  hidden  hidden   hidden  hidden   hidden     -
CommitReservation        hidden     hidden  hidden  hidden   hidden  hidden   hidden     -
ReleaseReservation       hidden     hidden  hidden  hidden   hidden  hidden   hidden     -
ReturnStock              hidden     hidden  hidden  hidden   hidden  hidden   hidden     -

commerce.gateway.v1.GatewayService
CreateApiKey             missing    denied  denied  denied   ok      denied   denied     apikey.write
ListApiKeys              missing    denied  denied  denied   ok      denied   ok         apikey.read
RevokeApiKey             missing    denied  denied  denied   ok      denied   ok         apikey.write
ListAuditEntries         missing    denied  denied  denied   ok      denied   ok         audit.read

commerce.notification.v1.NotificationService
ListDeliveries           missing    ok      denied  ok       ok      denied   ok         notification.read
RetryDelivery            missing    denied  denied  denied   ok      denied   ok         notification.write
GetPreferences           missing    ok      denied  ok       ok      denied   ok         notification.read
UpdatePreferences        missing    ok      denied  denied   ok      denied   ok         notification.write

commerce.notification.v1.DeadLetterService
ListDeadLetters          missing    denied  denied  denied   ok      denied   ok         event.read
GetDeadLetter            missing    denied  denied  denied   ok      denied   ok         event.read
ReplayDeadLetter         missing    denied  denied  denied   ok      denied   ok         event.write
SkipDeadLetter           missing    denied  denied  denied   ok      denied   ok         event.write
`;

export const actors = ["anonymous", "owner", "other", "support", "admin", "machine", "permitted"] as const;
export type Actor = (typeof actors)[number];

export const words = ["ok", "own", "missing", "denied", "hidden"] as const;
export type Word = (typeof words)[number];

/** What the table says of one rpc. */
export interface AccessRow {
  /** For example `commerce.user.v1.UserService/GetUser`. */
  readonly rpc: string;
  readonly expected: Readonly<Record<Actor, Word>>;
  /** Undefined where no permission helps. */
  readonly permission: string | undefined;
}

/** The rows of the table, in its order. */
export const accessMatrix: readonly AccessRow[] = parse(table);

/** @throws Error on a line that is no row of the table */
function parse(text: string): AccessRow[] {
  const [header = [], ...lines] = text
    .trim()
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split(/ +/));
  if (header.join(" ") !== `rpc ${actors.join(" ")} permission`) throw new Error("the table begins otherwise");
  const rows: AccessRow[] = [];
  let service = "";
  for (const [name = "", ...cells] of lines) {
    if (cells.length === 0) {
      service = name;
      continue;
    }
    const permission = cells.at(-1) ?? "";
    const found = cells.slice(0, -1);
    const isComplete = found.length === actors.length && found.every(isWord);
    if (!isComplete || !/^(?:-|[a-z]+\.[a-z]+)$/.test(permission))
      throw new Error(`no row: ${name} ${cells.join(" ")}`);
    const expected = Object.fromEntries(actors.map((actor, at) => [actor, found[at]])) as Record<Actor, Word>;
    rows.push({ rpc: `${service}/${name}`, expected, permission: permission === "-" ? undefined : permission });
  }
  return rows;
}

function isWord(text: string): boolean {
  return (words as readonly string[]).includes(text);
}
