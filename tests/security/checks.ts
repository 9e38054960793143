/** One promise of security, and the test that shows it. */
interface SecurityCheck {
  /** Stays what it is, also where the test gets another name. */
  readonly id: string;
  /** What it is about. */
  readonly against: string;
  /** Of the OWASP API Security Top 10 of 2023; `-` where none of them is about it. */
  readonly owasp: string;
  /** Sections of ASVS 5.0. */
  readonly asvs: readonly string[];
  readonly file: string;
  /** The title of the test, letter by letter; the docs check fails where the file has none of it. */
  readonly test: string;
}

/**
 * What `npm run test:security` runs, and docs/security.md lists: by file, `id | against what | OWASP | ASVS | test`.
 * `tests/security/` has only tests that are here; those of other places stand beside what they are about.
 */
const list = `
tests/security/mass-assignment.test.ts
mass-assignment | output fields in a request | API3 | V15.3 V2.2 | a field that only answers have is refused in every request that changes something
mass-assignment-binary | unknown fields of protobuf | API3 | V15.3 | fields that a binary request does not have are not heard
invented-price | price, discount or buyer by the client | API3 | V2.3 V8.2 | an order is its caller's, at the catalogue's price, whatever the request claims

tests/security/injection.test.ts
injection | SQL, shell, templates, paths, CRLF in every text | - | V1.2 V16.5 | no text of any request is taken for code, in whichever field
ssrf | addresses in requests | API7 | V1.3 V15.3 | no address in a request is called, and no command is run
stored-text | texts are data, letter by letter | - | V1.1 V2.2 | what is stored of %s comes back letter by letter, or is refused
wildcards-products | wildcards in the search of products | - | V1.2 | of SQL in a search of products find what they are, and no more
wildcards-users | wildcards in the search of users | API1 | V1.2 | of SQL in a search of users stand for themselves

tests/security/prototypes.test.ts
prototype-body | prototypes in JSON | - | V15.3 V1.5 | a body that writes to prototypes is refused: %s
prototype-query | prototypes in queries | - | V15.3 | a query that writes to prototypes is refused: %s
prototype-map | prototypes as keys of maps | - | V15.3 | a map has the key %s like any other
prototype-names | prototypes as headers and paths | - | V15.3 | headers, cookies, methods and paths that are named like prototypes are nothing

tests/security/smuggling.test.ts
smuggling | two ends of one request | API8 | V4.2 | no request is smuggled behind another by %s
smuggling-control | that the attack would work unhidden | API8 | V4.2 | what is sent so is a request where nothing hides it
broken-head | two hosts, odd names, odd versions | API8 | V4.2 | a request with %s is refused
absolute-target | targets that name another host | API7 | V4.2 | a target that names another place is not followed: %s
http2-headers | connection headers over HTTP/2 | API8 | V4.2 | the header %j with %j is refused
http2-lines | CR, LF and NUL over HTTP/2 | API8 | V4.2 | a header %j that goes on with %j is refused, or not heard at all
http2-control | that the same headers would be heard | API8 | V4.2 | what has none of these is answered
inside-headers | assertions and identities by headers | API2 | V4.1 V8.3 | headers of the inside are not believed from outside
request-id | request ids of clients | - | V16.2 | the id of a request is the server's own, whatever a client says

tests/security/addresses.test.ts
spoofed-address | X-Forwarded-For in the audit log | API8 | V15.3 V16.2 | writes down the address of the connection, whatever headers say
mail-links | Host and X-Forwarded-Host in links of mails | API8 | V6.4 V4.1 | leads nobody elsewhere by the links of its mails, whatever Host and proxies' headers say
spoofed-limit | another address for each login | API4 | V6.3 V2.4 | limits logins by the address of the connection, whatever headers say
spoofed-https | X-Forwarded-Proto | API8 | V4.1 | does not take a client's word that it came by HTTPS
open-redirect | redirects to anywhere | API8 | V3.7 | redirects nobody elsewhere: %s
trusted-proxy | which address a trusted proxy tells | API8 | V15.3 | believes the proxy's word of the client, and none that the client put before it
address-text | addresses that are none | - | V16.4 V15.3 | takes %j for no client's address
own-name | X-Forwarded-Host in addresses of payments | API8 | V4.1 | does not name itself as X-Forwarded-Host says

tests/security/surface.test.ts
method-override | X-HTTP-Method-Override and the like | API5 | V4.1 | a method override is not heard, in no header, query or body
verbs | other verbs, TRACE | API8 | V4.1 V13.4 | the verb %s serves nothing, and nothing is echoed
no-write-by-get | changes by GET | API5 | V3.5 | what changes something is not done by GET
content-types | types that a page may send unasked | API8 | V3.5 V4.1 | a body that does not say it is JSON is not read as JSON
private-caches | private answers in shared caches | API8 | V14.2 | keep nothing of %s for others
vary | what kept answers vary by | API8 | V14.2 | are told by what an answer that anybody may keep varies
cache-deception | private paths that look like files | API8 | V14.2 | are not deceived by a private path that goes on with %s
cache-poisoning | headers that change a kept answer | API8 | V14.2 V4.1 | are not poisoned by headers that no answer varies by
hidden-docs | methods of the inside in pages and errors | API9 | V13.4 | neither the docs nor errors name a method of the inside
hidden-methods | guessing methods of the inside | API9 | V13.4 V8.2 | what is called by the name of a method of the inside is answered like what there is not
hidden-reflection | methods of the inside in reflection | API9 | V13.4 | reflection shows no method of the inside
made-of | names and versions of what runs | API8 | V13.4 V16.5 | a failure tells nobody what the server is made of

tests/journeys/access.test.ts
access-matrix | who may call what: each rpc, each kind of caller | API5 | V8.2 V8.3 | $rpc
access-complete | no rpc without a promise | API9 | V8.1 | the table has every rpc of the registry, and no other
useless-tokens | forged, foreign, expired, ended tokens and keys | API2 | V9.1 V9.2 | nobody is let in by $what
odd-authorization | Authorization headers that are none | API2 | V9.1 | an Authorization header that says %j is no token

tests/journeys/access-others.test.ts
page-tokens | page tokens of others | API1 | V8.2 | $method.name by $whose is not gone on with by $others
tokens-elsewhere | a page token at another method | API1 | V9.2 | a token is of no use for another method
keys-of-others | idempotency keys of others | API1 | V8.2 | an idempotency key is its user's own, whichever way the order is made
ids-of-others | orders of others, however written | API1 | V8.2 | $name of another's order is refused, however its id is written
addresses-of-others | addresses of others | API1 | V8.2 | an address of another user is neither changed nor removed

tests/journeys/canary.test.ts
secrets-in-logs | secrets and persons in logs, over every protocol and in addresses | API8 | V16.2 V14.2 | no process logs any of them
secrets-in-errors | secrets and persons in refusals | API8 | V16.5 | no refusal says any of them
secrets-in-tables | secrets in databases | API8 | V14.2 V13.3 | no table has any of them where it does not belong
redacted-fields | fields that say what they are | API3 | V14.2 | every field that is named like a secret or a person says debug_redact

tests/journeys/revocation.test.ts
logout | an ended session | API2 | V7.4 | Logout ends this session and no other
logout-everywhere | all sessions of a user | API2 | V7.4 | LogoutEverywhere ends every session
deactivation | sessions of who was deactivated | API2 | V7.4 | DeactivateUser ends every session
refresh-reuse | a refresh token that was stolen | API2 | V7.2 V7.4 | a refresh token that is used again ends its session, with the tokens that came of it
revoked-key | a revoked API key, in streams too | API2 | V7.4 | RevokeApiKey ends the calls and the streams of a machine
stream-expiry | a stream that outlives its token | API2 | V7.3 V9.2 | a stream ends when its token expires, over %s

tests/journeys/errors.test.ts
errors | every bad input has its own answer | API8 | V16.5 V2.2 | $name: $reason
refused-is-undone | refusals leave no trace | - | V2.3 V16.5 | nothing of all this was a failure of ours, and nothing was written

tests/journeys/edge.test.ts
cors-browser | pages of other origins, in a browser | API8 | V3.5 | of a listed origin reads %s; one of another does not
framing | frames around the shop's pages | API8 | V3.4 | of any origin cannot frame the shop's own pages
browser-headers | headers that browsers obey | API8 | V3.4 V3.2 | %s has the security headers, and an origin's only where it is listed
overload | more calls than can be carried | API4 | V2.4 V15.2 | waits a moment, or is refused at once; health is always told

src/platform/cors.test.ts
cors-origins | null, prefix, suffix, scheme, port | API8 | V3.4 V3.5 | %s may be read by pages of the listed origins, and by no other
cors-preflight | preflights | API8 | V3.5 | a preflight of %s is answered to the listed origins, before anything else

tests/journeys/browser-page.test.ts
cors-clients | whole clients of a foreign page | API8 | V3.5 | gets nothing over %s where its origin is not listed, and nothing is done

tests/roles/auth.test.ts
login-alike | which accounts exist, in words | API2 | V6.3 | whatever is wrong with a login gets the same answer
login-alike-work | which accounts exist, in work | API2 | V6.3 | a login asks the database the same for an account that exists and for one that does not
password-storage | how passwords are kept | API2 | V11.4 | passwords are stored with the parameters of today; a login renews those of before
password-length | how long passwords may be | API2 | V6.2 | a password has 8 to 128 characters, whatever they take in bytes
guessing-account | guesses at one account | API2 | V6.3 V2.4 | logins of an account are limited, whether it exists or not, until time passes or one succeeds
guessing-address | guesses from one address, at several processes | API4 | V6.3 V2.4 | logins from an address are limited, also by way of several processes
refresh-races | one refresh token, many at once | API2 | V15.4 V7.2 | 50 refreshes of one token at once leave one live token, here and in another process
grant-own | giving roles that one does not have | API5 | V8.3 | nobody gives a role that they do not have, and no machine gives any
sample-accounts | accounts that everybody knows | API8 | V13.2 V6.3 | a shop that others reach gets no sample accounts, and takes the login of those that it has

tests/roles/auth-sessions.test.ts
many-sessions | sessions without end | API4 | V7.1 V7.4 | at most 100 sessions of a user are open: the next login ends the oldest
password-change | sessions of the password before | API2 | V7.4 | ChangePassword ends the other sessions; the password before is no good any more
password-races | logins while the password changes | API2 | V15.4 | of 5 ChangePassword and 5 Login at once no session of the password before is left
roles-taken | roles that were taken away | API5 | V8.3 | SetUserRoles: what is added counts from the next refresh on, what is taken away ends the sessions

tests/roles/auth-keys.test.ts
key-rotation | keys that sign for ever | API2 | V11.1 V9.1 | signing keys follow one another without a gap, each known before it signs and after
keys-inside | keys and ended sessions, asked for by clients | API9 | V8.2 | keys and revocations are for the gateway, and for no client

tests/roles/auth-mail.test.ts
reset-alike | which accounts exist, by a reset | API2 | V6.3 V6.4 | is asked for alike whether there is such an account or not, and told to who sends mails
reset-once | a link of a mail, twice | API2 | V6.4 | is set once, ends all sessions, and confirms the email
reset-time | a link of a mail, late | API2 | V6.4 | is not set after half an hour
email-change | an account moved by a stolen session | API2 | V6.3 V7.5 | is changed by %s with the password, and not by who has but the session

tests/roles/auth-openid.test.ts
openid-redirect | where a login at a provider goes on | API10 | V10.2 V3.7 | the path to go on at comes back; one that leads elsewhere is refused, as is a provider that there is not
openid-email | emails that a provider does not vouch for | API10 | V10.5 V6.8 | an email that the provider does not vouch for makes no account
openid-link | an account taken over by an equal email | API10 | V6.8 | an account that has the email is not linked silently, but by who is logged in to it

tests/roles/auth-openid-attacks.test.ts
openid-answers | answers that no login of this browser asked for | API10 | V10.1 V10.2 | refused without a trace: %s
openid-tokens | ID tokens that are wrong | API10 | V10.5 V9.1 | an ID token is refused without a trace: %s
openid-once | a login at a provider, twice | API10 | V10.2 | a login serves once, here and in another process: %s
openid-slow | a provider that is ill | API10 | V13.2 V16.5 | a provider that is down, ill or slow is told as such, and the same login goes on when it is back

src/roles/gateway/access-token.test.ts
mutated-tokens | 10,000 changed tokens | API2 | V9.1 | 10,000 mutated tokens: none is accepted

src/roles/gateway/rate-limits.test.ts
rate-limits | calls without end | API4 | V2.4 | reads together, writes together, each caller alone
sign-ups | accounts without end, however many log in | API6 | V2.4 | what anybody may call is counted by address, however many accounts call
ipv6 | all addresses of one network | API4 | V2.4 | a user is one caller, from wherever; so is a network of IPv6

src/roles/gateway/api-keys.test.ts
invented-keys | guessing API keys | API4 | V2.4 | invented keys: one query at a time, and none again for one that was looked for

src/roles/gateway/identify.test.ts
unknown-revocations | calls before it is known who was logged out | API2 | V7.4 V16.5 | until it knows which sessions have ended, nobody is let in

src/roles/gateway/audit-calls.test.ts
audit | who did what, from where | - | V16.2 V16.3 | who, from where, what and with which result
audit-first | a deed that is not written down | - | V16.3 | what is not stored before is refused, and that is recorded

src/roles/gateway/audit-chain.test.ts
audit-chain | changes of the audit log | - | V16.4 | an entry was changed, and all hashes after it made anew

src/platform/assertion.test.ts
assertions | for whom a role asks, and with which key | API2 | V9.1 V13.2 | keys of a folder: a process speaks for its own roles only

tests/journeys/direct-role.test.ts
roles-alone | a role that is called past the gateway | API5 | V8.3 V13.2 | refuses $what, and logs one line
asserted-outside | assertions that clients send | API2 | V8.3 | does not hear what roles assert, over %s

src/platform/config.test.ts
origin-list | patterns in the list of origins | API8 | V13.2 V3.4 | origins are those that browsers send: no pattern, no path, no default port, none without a host
`;

/** The checks of the list, in its order. */
export const securityChecks: readonly SecurityCheck[] = parse(list);

/** @throws Error on a line that is neither a file nor a check */
function parse(text: string): SecurityCheck[] {
  let file = "";
  return text.split("\n").flatMap((line) => {
    if (line === "") return [];
    const [id = "", against = "", owasp = "", asvs = "", test = ""] = line.split(" | ");
    if (/^[\w./-]+\.test\.ts$/.test(line)) {
      file = line;
      return [];
    }
    const sections = asvs.split(" ");
    const isRight = /^(?:-|API(?:10|[1-9]))$/.test(owasp) && sections.every((each) => /^V\d+\.\d+$/.test(each));
    if (!isRight || test === "") throw new Error(`no check: ${line}`);
    return [{ id, against, owasp, asvs: sections, file, test }];
  });
}
