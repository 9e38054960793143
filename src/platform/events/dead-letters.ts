import type { MessageInitShape } from "@bufbuild/protobuf";
import { fromBinary, toJsonString } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Kysely } from "kysely";
import type {
  DeadLetterSchema,
  GetDeadLetterRequest,
  GetDeadLetterResponseSchema,
  ListDeadLettersRequest,
  ListDeadLettersResponseSchema,
  ReplayDeadLetterRequest,
  SkipDeadLetterRequest,
} from "#gen/commerce/common/v1/dead_letter_pb.ts";
import { ListDeadLettersRequestSchema } from "#gen/commerce/common/v1/dead_letter_pb.ts";
import type { Call } from "../call.ts";
import type { PageTokens } from "../page.ts";
import type { DeadLetterRow } from "./dead-letters-store.ts";
import { getDeadLetter, listDeadLetters, replayDeadLetter, skipDeadLetter } from "./dead-letters-store.ts";
import type { Consumer } from "./declaration.ts";
import { topicOf } from "./declaration.ts";

export interface DeadLetterRpcOptions {
  readonly db: Kysely<unknown>;
  readonly pages: PageTokens;
  readonly consumers: readonly Pick<Consumer, "consumption">[];
  /** Has the inbox look at once. */
  readonly wake: () => void;
}

/** What serves the DeadLetterService of a role that consumes events. */
export function createDeadLetterRpc({ db, pages, consumers, wake }: DeadLetterRpcOptions) {
  const schemas = new Map(consumers.map(({ consumption: { schema } }) => [topicOf(schema), schema]));

  /** A payload that cannot be read, which may be why it is here, as its bytes in base64. */
  function jsonOf(topic: string, payload: Buffer): string {
    const schema = schemas.get(topic);
    try {
      if (schema) return toJsonString(schema, fromBinary(schema, payload));
    } catch {
      // Answered as bytes.
    }
    return JSON.stringify(payload.toString("base64"));
  }

  return {
    async listDeadLetters(
      request: ListDeadLettersRequest,
      call: Call,
    ): Promise<MessageInitShape<typeof ListDeadLettersResponseSchema>> {
      const page = pages.open({
        call,
        schema: ListDeadLettersRequestSchema,
        request,
        token: request.pageToken,
        tokenField: "page_token",
        size: request.pageSize,
        omit: ["pageToken", "pageSize"],
      });
      const [failedAt, id] = page.after ?? [];
      const after = failedAt === undefined || id === undefined ? undefined : { failedAt, id };
      const found = await listDeadLetters(db, after, page.limit, call.signal);
      const { rows, nextPageToken } = page.cut(found, (last) => [last.failed_at.toISOString(), last.id]);
      return { deadLetters: rows.map(toProto), nextPageToken };
    },

    async getDeadLetter(
      { eventId }: GetDeadLetterRequest,
      { signal }: Call,
    ): Promise<MessageInitShape<typeof GetDeadLetterResponseSchema>> {
      const row = await getDeadLetter(db, eventId.toLowerCase(), signal);
      return { deadLetter: { ...toProto(row), payloadJson: jsonOf(row.topic, row.payload) } };
    },

    async replayDeadLetter({ eventId }: ReplayDeadLetterRequest) {
      await replayDeadLetter(db, eventId.toLowerCase());
      wake();
      return {};
    },

    async skipDeadLetter({ eventId }: SkipDeadLetterRequest) {
      await skipDeadLetter(db, eventId.toLowerCase());
      wake();
      return {};
    },
  };
}

function toProto(row: DeadLetterRow): MessageInitShape<typeof DeadLetterSchema> {
  return {
    eventId: row.id,
    topic: row.topic,
    type: row.type,
    aggregateId: row.aggregate_id,
    sequence: row.sequence,
    error: row.error,
    attempts: row.attempts,
    waiting: Number(row.waiting),
    occurredAt: timestampFromDate(row.occurred_at),
    failedAt: timestampFromDate(row.failed_at),
  };
}
