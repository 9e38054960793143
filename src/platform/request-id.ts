import { createContextKey } from "@connectrpc/connect";

/** Names a request in every answer and in the logs of every role that it goes through. */
export const REQUEST_ID_HEADER = "x-request-id";

/** The id that this server made for a request that it received. */
export const receivedId = createContextKey("");

/** The address of the client whose request this server received. */
export const receivedFrom = createContextKey("");
