import { createHmac, timingSafeEqual } from "node:crypto";
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import type { Call } from "./call.ts";
import { subjectKey } from "./call.ts";
import { requestDigest } from "./digest.ts";
import { invalidRequest } from "./errors.ts";
import { deriveKey } from "./secret.ts";

const defaultSize = 50;
const maxSize = 500;
const macBytes = 16;

/** A position in an ordered list: the sort key's values as text, at least one. */
export type Cursor = readonly [string, ...string[]];

export interface Page {
  /** Rows to answer: 50 where the request says 0, at most 500. */
  readonly size: number;
  /** The position after which the page begins; undefined on the first. */
  readonly after: Cursor | undefined;
  /** Rows to read: one more than to answer, which tells whether there is another page. */
  readonly limit: number;
  /** The token of the page after this position. */
  tokenAfter(cursor: Cursor): string;
  /** What to answer of the rows that were read, and the token of the next page, empty on the last. */
  cut<T>(rows: readonly T[], cursorOf: (last: T) => Cursor): { readonly rows: T[]; readonly nextPageToken: string };
}

export interface PageRequest<D extends DescMessage> {
  readonly call: Call;
  readonly schema: D;
  readonly request: MessageShape<D>;
  readonly token: string;
  /** The proto name of the token's field, for its error. */
  readonly tokenField: string;
  readonly size?: number;
  /** Local names of the fields that may differ between pages: the token, the size. */
  readonly omit: readonly string[];
}

/** Page and resume tokens: a position with a MAC that binds it to the method, the filters and the subject. */
export interface PageTokens {
  /** @throws AppError INVALID_REQUEST where the token is forged or of another query. */
  open<D extends DescMessage>(request: PageRequest<D>): Page;
}

/** @param secret the installation's; replicas share it, so that a page of one continues at another. */
export function createPageTokens(role: string, secret: string): PageTokens {
  const key = deriveKey(secret, role, "page token");

  return {
    open({ call, schema, request, token, tokenField, size = 0, omit }) {
      const query = requestDigest(schema, request, omit);
      const mac = (cursor: string) =>
        createHmac("sha256", key)
          .update(`${call.method.parent.typeName}/${call.method.name}\0${subjectKey(call.subject)}\0`)
          .update(query)
          .update(cursor)
          .digest()
          .subarray(0, macBytes);

      const read = (): Cursor => {
        const bytes = Buffer.from(token, "base64url");
        const text = bytes.subarray(macBytes).toString();
        const given = bytes.subarray(0, macBytes);
        const known = given.length === macBytes && timingSafeEqual(given, mac(text));
        // The re-encoding refuses trailing bits and foreign characters, which decoding skips.
        if (!known || bytes.toString("base64url") !== token) {
          throw invalidRequest({ field: tokenField, description: "is not a token of this query" });
        }
        return JSON.parse(text) as Cursor;
      };

      const tokenAfter = (cursor: Cursor): string => {
        const text = JSON.stringify(cursor);
        return Buffer.concat([mac(text), Buffer.from(text)]).toString("base64url");
      };
      const most = Math.min(size === 0 ? defaultSize : size, maxSize);
      return {
        size: most,
        limit: most + 1,
        after: token === "" ? undefined : read(),
        tokenAfter,
        cut(rows, cursorOf) {
          const last = rows.length > most ? rows[most - 1] : undefined;
          return { rows: rows.slice(0, most), nextPageToken: last === undefined ? "" : tokenAfter(cursorOf(last)) };
        },
      };
    },
  };
}
