import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { ListUsersRequestSchema, UserService, UserState } from "#gen/commerce/user/v1/user_pb.ts";
import type { Call } from "./call.ts";
import { anonymous } from "./call.ts";
import { createPageTokens } from "./page.ts";

const call = { method: UserService.method.listUsers, subject: anonymous } as unknown as Call;
const tokens = createPageTokens("user", "a secret of at least 32 characters");

function open(token: string, request: { state?: UserState; pageSize?: number } = {}, from = tokens, by: Call = call) {
  return from.open({
    call: by,
    schema: ListUsersRequestSchema,
    request: create(ListUsersRequestSchema, { ...request, pageToken: token }),
    token,
    tokenField: "page_token",
    size: request.pageSize ?? 0,
    omit: ["pageToken", "pageSize"],
  });
}

test("a token leads to where its page ended, whatever the size of the next", () => {
  const token = open("", { pageSize: 3 }).tokenAfter(["a", "b ü"]);
  expect(open(token, { pageSize: 7 })).toMatchObject({ after: ["a", "b ü"], size: 7 });
});

test("sizes: 50 where none is asked for, 500 at most", () => {
  expect([open("").size, open("", { pageSize: 501 }).size]).toEqual([50, 500]);
});

test("no token of another query, subject or secret is taken, nor a changed one", () => {
  const token = open("").tokenAfter(["a"]);
  const user: Call = { ...call, subject: { kind: "user", id: "u", permissions: [] } };
  expect(() => open(token, { state: UserState.ACTIVE })).toThrow(/page_token/);
  expect(() => open(token, {}, tokens, user)).toThrow(/page_token/);
  expect(() => open(token, {}, createPageTokens("user", "another secret of 32 characters!!"))).toThrow(/page_token/);
  expect(() => open(token, {}, createPageTokens("order", "a secret of at least 32 characters"))).toThrow(/page_token/);
  for (let at = 0; at < token.length; at += 1) {
    const changed = token.slice(0, at) + (token[at] === "A" ? "B" : "A") + token.slice(at + 1);
    expect(() => open(changed)).toThrow(/page_token/);
  }
  for (const junk of ["x", "=", `${token}=`, `${token}AAAA`, token.slice(1)])
    expect(() => open(junk)).toThrow(/page_token/);
});
