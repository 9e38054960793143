/** The longest broadcast, in bytes: a notification of Postgres has 8,000 bytes for its channel and this in base64. */
export const BROADCAST_BYTES = 5_000;
